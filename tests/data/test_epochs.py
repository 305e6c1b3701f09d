import pytest
import torch

from moe_distill.data.shuffled_epochs import ShuffledEpochs
from moe_distill.seeding import stream

ROWS = torch.arange(100, 120)


def dealt(n, times, rows=ROWS, name="a"):
    epochs, rng = ShuffledEpochs(), stream(0, name)
    return [epochs.next(rows, n, rng).tolist() for _ in range(times)]


@pytest.mark.parametrize(("n", "batches_an_epoch"), [(5, 4), (7, 2), (20, 1)])
def test_no_row_comes_twice_in_an_epoch_and_what_fills_no_batch_is_left_out(n, batches_an_epoch):
    batches = dealt(n, 3 * batches_an_epoch)
    for k in range(3):
        epoch = [row for batch in batches[k * batches_an_epoch : (k + 1) * batches_an_epoch] for row in batch]
        assert len(set(epoch)) == n * batches_an_epoch and set(epoch) <= set(ROWS.tolist())
    assert batches[0] != batches[batches_an_epoch]
    assert batches == dealt(n, 3 * batches_an_epoch) != dealt(n, 3 * batches_an_epoch, name="b")


def test_fewer_rows_than_asked_for_come_all():
    assert [sorted(batch) for batch in dealt(64, 3)] == [ROWS.tolist()] * 3


def test_every_row_is_dealt_equally_often():
    hits = torch.zeros(20)
    for batch in dealt(6, 3000):  # three batches of 6 an epoch, two rows left out
        hits[torch.tensor(batch) - 100] += 1
    # 1000 epochs hold a row with probability 0.9: 900 ± 9.5 (one standard deviation); 4 of them bound the
    # worst.
    assert (hits - 900).abs().max() < 38


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_goes_on_where_it_was(before):
    straight, rng = ShuffledEpochs(), stream(0, "c")
    for _ in range(before):
        straight.next(ROWS, 7, rng)
    resumed, again = ShuffledEpochs(), rng.clone_state()
    resumed.next(torch.arange(50), 7, stream(1))  # what it held before does not matter
    resumed.load_state_dict(straight.state_dict())
    for _ in range(4):
        assert torch.equal(straight.next(ROWS, 7, rng), resumed.next(ROWS, 7, again))
