"""The processes (ranks) of a mixture: started together, watched, and ended together.

A rank that dies, is stopped or hangs leaves the others waiting in a collective. Each rank therefore counts
heartbeats in a separate thread, and also counts its steps. When a rank dies, stops beating, or stays in one
step for long while another waits, the process that started them ends all of them and names the rank.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from typing import Any

from pytorch_lightning.strategies.launchers.multiprocessing import (
    _GlobalStateSnapshot,
    _MultiProcessingLauncher,
)
from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, start_processes
from tqdm import tqdm

from moe_distill.errors import LostRank
from moe_distill.stopping import GOES_ON, SIGNALS

BEAT_SECONDS = 1.0
# Counted in beats of the watching process, not in time, so that a pause of the whole machine does not count.
SILENT_BEATS = 90
# Until its first beat a rank is importing.
IMPORTING_BEATS = 600
# Less than the 1800 s after which waiting ranks give up by themselves, without naming the one at fault.
STEP_BEATS = 1500
# Time for the other ranks to end too, so that the one which died first can be told from its followers.
_SETTLE_SECONDS = 0.5


class WatchedRanks(_MultiProcessingLauncher):
    """Lightning's launcher of spawned processes, with a watch over them; its arguments are Lightning's."""

    _beats: Any = None  # shared memory: heartbeats of each rank
    _steps: Any = None  # shared memory: begun and ended steps of each rank
    _rank = 0

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Run a function in every rank and return the first rank's result.

        Args:
            function: The function.
            *args: Its arguments.
            trainer: The Trainer, which takes over the first rank's state.
            **kwargs: Its keyword arguments.

        Raises:
            LostRank: A rank died, did not beat for ``SILENT_BEATS`` seconds, or was in one step for
                ``STEP_BEATS`` seconds while another waited.
            ProcessRaisedException: A rank raised an exception; its traceback is the message.
        """
        spawning = multiprocessing.get_context("spawn")
        cluster = self._strategy.cluster_environment
        os.environ["MASTER_PORT"] = str(cluster.main_port)  # type: ignore[union-attr]
        count: int = self._strategy.num_processes  # type: ignore[attr-defined]
        self._beats, self._steps = (spawning.Array("Q", count, lock=False) for _ in range(2))
        answers = spawning.SimpleQueue()
        task = (trainer, function, args, kwargs, answers, _GlobalStateSnapshot.capture())
        # A terminal sends Ctrl-C to all processes, and only this one should answer. Ranks inherit the blocked
        # mask; signals that arrive here meanwhile are delivered when it is restored.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            ranks = start_processes(self._wrapping_function, task, len(self._beats), join=False)
            self.procs = ranks.processes
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            watch(ranks, self._beats, self._steps)
            answer = answers.get()
        except BaseException:
            sys.stderr.write("\n")  # the first rank may have left an unfinished progress bar
            raise
        finally:
            for process in self.procs:
                process.kill()
                process.join()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._recover_results_in_main_process(answer, trainer)
        return answer.trainer_results

    def _wrapping_function(self, process_idx: int, *task: Any) -> None:
        """Run the function in a rank, with a heartbeat."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*SIGNALS} - {signal.SIGINT})
        # Bars are not shared between ranks, and tqdm's default lock is a semaphore that a killed rank leaks.
        tqdm.set_lock(threading.RLock())
        threading.Thread(target=_beat, args=(self._beats, process_idx), daemon=True).start()
        self._rank = process_idx
        try:
            super()._wrapping_function(process_idx, *task)
        except SystemExit as stop:
            if not isinstance(stop.code, int | None):
                sys.stderr.write(f"{stop.code}\n")  # which Python writes only after this process is gone
            _leave_at_once(stop.code if isinstance(stop.code, int) else int(stop.code is not None))
            raise
        except Exception:
            _leave_at_once(1)
            raise  # torch writes the traceback down for the process that started this one
        _leave_at_once(0)

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Count a step of this rank; the count is odd during the step."""
        self._steps[self._rank] += 1
        yield
        self._steps[self._rank] += 1


def _leave_at_once(exit_code: int) -> None:
    """Make this process end without destructors, once Python's own exit functions have run.

    On a busy machine those of the collectives' threads sometimes abort a rank, however it came to its end.
    """

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)

    # The last of all: negative priorities run when everything else is done.
    Finalize(None, leave, exitpriority=-100)


def _beat(beats: Any, rank: int) -> None:
    """Count heartbeats of a rank, and end the rank when the process that started it ends."""
    starter = os.getppid()
    while os.getppid() == starter:
        beats[rank] += 1
        time.sleep(BEAT_SECONDS)
    # Not sys.exit, which ends only this thread: the main one may wait in a collective for ever.
    os._exit(1)


def watch(ranks: ProcessContext, beats: Sequence[int], steps: Sequence[int]) -> None:
    """Wait until all ranks have ended successfully.

    Args:
        ranks: The processes.
        beats: Heartbeats of each rank so far.
        steps: How many times each rank has begun or ended a step.

    Raises:
        LostRank: A rank was ended by a signal or with an exit code, has stopped beating, or hangs in a step.
        ProcessRaisedException: A rank raised an exception.
    """
    processes = ranks.processes
    last_beats, last_steps = [*beats], [*steps]
    silent_beats, step_beats = [0] * len(processes), [0] * len(processes)
    while running := [process for process in processes if process.exitcode is None]:
        ended = wait([process.sentinel for process in running], timeout=BEAT_SECONDS)
        if any(process.exitcode for process in processes):
            break
        # When a rank has just ended well, wait returns before a whole beat has passed.
        passed = 0 if ended else 1
        for rank, process in enumerate(processes):
            moved = process.exitcode is not None or beats[rank] != last_beats[rank]
            silent_beats[rank] = 0 if moved else silent_beats[rank] + passed
            if silent_beats[rank] >= (SILENT_BEATS if last_beats[rank] else IMPORTING_BEATS):
                seconds = silent_beats[rank] * BEAT_SECONDS
                raise LostRank(_lost(rank, process, f"has not moved for {seconds:.0f} s"))
            step_beats[rank] = 0 if steps[rank] != last_steps[rank] else step_beats[rank] + passed
        _require_progress(processes, steps, step_beats)
        last_beats, last_steps = [*beats], [*steps]
    _join(ranks)


def _require_progress(processes: Sequence[Any], steps: Sequence[int], step_beats: Sequence[int]) -> None:
    """Raise LostRank if a rank has long been in one step while another has waited as long."""
    slow = [
        rank
        for rank, process in enumerate(processes)
        if process.exitcode is None and step_beats[rank] >= STEP_BEATS
    ]
    # An odd count means inside a step. If all ranks are, steps are long; if none is, no rank is at fault.
    waiting = [rank for rank in slow if steps[rank] % 2 == 0]
    working = [rank for rank in slow if steps[rank] % 2 == 1]
    if waiting and working:
        seconds = step_beats[working[0]] * BEAT_SECONDS
        how = f"has been at one iteration for {seconds:.0f} s, while rank {waiting[0]} waits for it"
        raise LostRank(_lost(working[0], processes[working[0]], how))


def _join(ranks: ProcessContext) -> None:
    """Wait for the end of all ranks and raise the failure of the one that failed first."""
    if any(process.exitcode for process in ranks.processes):
        time.sleep(_SETTLE_SECONDS)
    # Signals first: a rank that waited in a collective for the killed one raises too.
    for rank, process in enumerate(ranks.processes):
        if (process.exitcode or 0) < 0:
            raise LostRank(_lost(rank, process, f"was ended by {signal.Signals(-process.exitcode).name}"))
    # An exit code of a rank that no signal ended is torch's to find, with the rank's traceback.
    try:
        while not ranks.join():
            pass
    except ProcessExitedException as error:
        process = ranks.processes[error.error_index]
        how = f"ended with exit code {error.exit_code}"
        raise LostRank(_lost(error.error_index, process, how)) from error


def _lost(rank: int, process: Any, how: str) -> str:
    """Return the message about a lost rank."""
    name = f"rank {rank} of the experts' processes (process {process.pid})"
    return f"{name} {how}; the others were ended; {GOES_ON}"
