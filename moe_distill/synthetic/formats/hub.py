"""Upload of an exported folder to Hugging Face's Hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moe_distill.errors import InputError
from moe_distill.validation.values import HubName, Text, checked

KEY = "repo"
_KIND = "dataset"  # the Hub's word; it has models and spaces, too


@checked
def push_to_hub(folder: str | Path, repo: HubName, private: bool = True, token: Text | None = None) -> str:
    """Upload a folder that the layout ``huggingface`` wrote, and return the address of the data set.

    A data set of that name is replaced in one commit, so that no file of an earlier upload is left beside
    new ones; the Hub keeps its history.

    Args:
        folder: The exported folder.
        repo: ``<user or organisation>/<name>``.
        private: Whether only the owner sees it.
        token: An access token that may write; None takes the environment's ``HF_TOKEN``, or that of
            ``hf auth login``.

    Raises:
        InputError: The package ``huggingface_hub`` or a token is missing, the folder is no export, there is
            such a data set but not as ``private`` as asked for, or the Hub refuses the upload.
    """
    client = client_for(repo, token)
    if not (Path(folder) / "README.md").is_file():
        raise InputError("folder", folder, "a folder that pipeline=export pipeline.layout=huggingface wrote")
    with _refusals_named(repo, folder):
        address = client.create_repo(repo, repo_type=_KIND, private=private, exist_ok=True)
        is_private = bool(client.repo_info(repo, repo_type=_KIND).private)
    # One that was there before keeps its visibility: uploading might publish what should stay private.
    if is_private != private:
        wanted, present = ("private", "public") if private else ("public", "private")
        raise InputError(KEY, repo, f"a data set that is {wanted}, or a new one; this one is {present}")
    with _refusals_named(repo, folder):
        client.upload_folder(
            repo_id=repo,
            repo_type=_KIND,
            folder_path=folder,
            delete_patterns="*",
            commit_message="Upload a distilled set",
        )
    return str(address)


def client_for(repo: str, token: str | None = None) -> Any:
    """Return a client of the Hub that has a token; the Hub is not contacted.

    Args:
        repo: Named in errors.
        token: See :func:`push_to_hub`.

    Raises:
        InputError: The package ``huggingface_hub`` or a token is missing.
    """
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError as error:
        allowed = "with the package huggingface_hub: pip install 'moe_distill[hub]'"
        raise InputError(KEY, repo, allowed) from error
    token = token or get_token()
    if token is None:
        raise InputError(KEY, repo, "with a token that may write, in HF_TOKEN or from `hf auth login`")
    return HfApi(token=token)


@contextmanager
def _refusals_named(repo: str, folder: str | Path) -> Iterator[None]:
    """Raise whatever goes wrong at the Hub as an InputError."""
    try:
        yield
    except Exception as error:  # its clients raise classes of several libraries
        allowed = f"a data set that the Hub lets this token write ({error}); {folder} is complete"
        raise InputError(KEY, repo, allowed) from error
