"""A Hub that is not there: a client that takes the calls of the real one, and keeps what it was sent."""

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest


class FakeHub:
    """Data sets by name: whether each is private, and its files.

    The client is a mock with the real one's signatures, so that a call that it would refuse fails here too.
    """

    def __init__(self, real):
        self._real = real
        self.private, self.files, self.tokens = {}, {}, []

    def client(self, token=None):
        self.tokens.append(token)
        client = create_autospec(self._real, instance=True)
        client.create_repo.side_effect = self._create
        client.repo_info.side_effect = lambda repo, repo_type: SimpleNamespace(private=self.private[repo])
        client.upload_folder.side_effect = self._upload
        return client

    def _create(self, repo, repo_type, private, exist_ok):
        assert repo_type == "dataset"
        assert exist_ok or repo not in self.private
        self.private.setdefault(repo, private)
        return f"https://hub.test/datasets/{repo}"

    def _upload(self, repo_id, repo_type, folder_path, delete_patterns, commit_message):
        assert repo_type == "dataset" and delete_patterns == "*" and commit_message
        paths = [p.relative_to(folder_path).as_posix() for p in Path(folder_path).rglob("*") if p.is_file()]
        self.files[repo_id] = sorted(paths)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Put a fake Hub in the place of the real one; this machine has no token for it."""
    import huggingface_hub

    fake = FakeHub(huggingface_hub.HfApi)
    monkeypatch.setattr(huggingface_hub, "HfApi", fake.client)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    return fake
