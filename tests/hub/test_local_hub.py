"""The local hub is faithful: the unmodified huggingface_hub client, and transformers, work against it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from server import Running

huggingface_hub = pytest.importorskip("huggingface_hub", minversion="1.0")
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download  # noqa: E402
from huggingface_hub.errors import (  # noqa: E402
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


def synthetic(kind: str, n: int = 400) -> str:
    import hub_repositories as hr

    return next(hr.synthetic_id(i) for i in range(n) if hr.synthetic_kind(i) == kind)


def test_listing_pages_and_expand(hub: Running) -> None:
    """A listing is complete over its pages, in one request per thousand, with the asked keys only."""
    api = HfApi(hub.url, token=False)
    hub.reset()
    models = list(api.list_models(expand=["config", "sha", "gated"]))
    assert hub.stats()["kinds"]["api"] == 2
    ids = [m.id for m in models]
    assert len(ids) == len(set(ids)) > 1000
    by_id = {m.id: m for m in models}
    config = by_id[synthetic("pad-is-eos")].config
    assert config is not None and config["tokenizer_config"]["pad_token"] == "</s>"
    assert by_id[synthetic("gpt2-no-pad")].config["tokenizer_config"].get("pad_token", "absent") == "absent"
    assert models[0].tags is None and models[0].sha
    with pytest.raises(HfHubHTTPError, match="unknown property"):
        list(api.list_models(expand=["nonsense"]))  # type: ignore[list-item]


def test_listing_filters(hub: Running) -> None:
    """author, search, filter, sort and limit mean what they mean on the real hub."""
    api = HfApi(hub.url, token=False)
    org = list(api.list_models(author="org-03"))
    assert org and all(m.id.startswith("org-03/") for m in org)
    assert [m.id for m in api.list_models(search="MODEL-00007")] == ["org-07/model-00007"]
    assert all("t5" in (m.tags or ()) for m in api.list_models(filter="t5", limit=30))
    downloads = [m.downloads for m in api.list_models(sort="downloads", limit=20)]
    assert len(downloads) == 20 and downloads == sorted(downloads, reverse=True)


def test_private_repositories_are_listed_for_their_owner_only(hub: Running) -> None:
    """A private repository exists only for who may see it."""
    private = synthetic("private")
    assert private not in {m.id for m in HfApi(hub.url, token=False).list_models()}
    assert private in {m.id for m in HfApi(hub.url, token="hf_owner").list_models()}


def test_model_info(hub: Running) -> None:
    """One call gives the revision, and every file with its size, blob id and LFS hash."""
    info = HfApi(hub.url, token=False).model_info(synthetic("bert"), files_metadata=True)
    files = {s.rfilename: s for s in info.siblings or ()}
    assert len(info.sha or "") == 40
    assert files["config.json"].size and files["config.json"].lfs is None
    assert files["model.safetensors"].lfs is not None and files["model.safetensors"].lfs.sha256


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_download(hub: Running, tmp_path: Path, name: str) -> None:
    """A small file (redirect on the same host) and an LFS file (another host) come whole into the cache."""
    repo = synthetic("bert")
    path = hf_hub_download(repo, name, endpoint=hub.url, cache_dir=tmp_path, token="hf_reader")
    size = Path(path).stat().st_size
    info = HfApi(hub.url).model_info(repo, files_metadata=True)
    assert size == {s.rfilename: s.size for s in info.siblings or ()}[name]
    assert info.sha in path
    assert hub.stats()["cdn_tokens"] == []  # the client does not send its token to the other host


def test_safetensors_metadata(hub: Running) -> None:
    """The header of a single and of a sharded checkpoint is read by range."""
    api = HfApi(hub.url, token=False)
    one = api.get_safetensors_metadata(synthetic("bert"))
    assert one.files_metadata["model.safetensors"].tensors[
        "bert.embeddings.word_embeddings.weight"
    ].shape == [512, 16]
    many = api.get_safetensors_metadata(synthetic("sharded"))
    assert many.sharded and len(many.files_metadata) == 2


def test_refusals_have_their_own_errors(hub: Running, tmp_path: Path) -> None:
    """Gated, private, missing, disabled, a wrong revision and a wrong file are told apart by the client."""
    api = HfApi(hub.url, token=False)
    gated = synthetic("gated")
    assert api.model_info(gated).gated == "auto"
    for token in (False, "hf_reader"):
        with pytest.raises(GatedRepoError):
            hf_hub_download(gated, "config.json", endpoint=hub.url, cache_dir=tmp_path, token=token)
    assert hf_hub_download(gated, "config.json", endpoint=hub.url, cache_dir=tmp_path, token="hf_owner")
    for repo, token in (
        (synthetic("private"), False),
        (synthetic("private"), "hf_reader"),
        ("no/such", "hf_reader"),
    ):
        with pytest.raises(RepositoryNotFoundError):
            api.model_info(repo, token=token)
    with pytest.raises(DisabledRepoError):
        api.model_info(synthetic("disabled"))
    with pytest.raises(RevisionNotFoundError):
        api.model_info(synthetic("bert"), revision="v9")
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(synthetic("bert"), "nothing.json", endpoint=hub.url, cache_dir=tmp_path, token=False)


def test_renamed(hub: Running, tmp_path: Path) -> None:
    """An old name leads to the new one, for metadata and for files."""
    repo = synthetic("bert")
    assert HfApi(hub.url, token=False).model_info(f"old-{repo}").id == repo
    assert hf_hub_download(f"old-{repo}", "config.json", endpoint=hub.url, cache_dir=tmp_path, token=False)


def test_tree_and_paths_info(hub: Running) -> None:
    """Trees and paths-info agree with the file list."""
    api, repo = HfApi(hub.url, token=False), synthetic("sharded")
    tree = {node.path for node in api.list_repo_tree(repo, recursive=True)}
    assert tree == set(api.list_repo_files(repo))
    (node,) = api.get_paths_info(repo, ["config.json", "absent"])
    assert node.path == "config.json"


def test_pull_request(hub: Running) -> None:
    """A commit with create_pr opens a pull request that can be read back; main stays as it was."""
    api, repo = HfApi(hub.url, token="hf_reader"), synthetic("pad-disagrees")
    before = api.model_info(repo).sha
    done = api.create_commit(
        repo,
        [
            CommitOperationAdd("config.json", b'{"pad_token_id": 3}'),
            CommitOperationDelete("special_tokens_map.json"),
        ]
        if "special_tokens_map.json" in api.list_repo_files(repo)
        else [CommitOperationAdd("config.json", b'{"pad_token_id": 3}')],
        commit_message="Fix the pad",
        commit_description="because",
        create_pr=True,
        parent_commit=before,
    )
    assert done.pr_num is not None and done.pr_revision == f"refs/pr/{done.pr_num}"
    assert api.model_info(repo).sha == before
    details = api.get_discussion_details(repo, done.pr_num)
    assert details.title == "Fix the pad" and details.is_pull_request
    path = hf_hub_download(repo, "config.json", endpoint=hub.url, revision=done.pr_revision, token=False)
    assert json.loads(Path(path).read_text()) == {"pad_token_id": 3}
    with pytest.raises(RepositoryNotFoundError):
        HfApi(hub.url, token=False).create_commit(
            repo, [CommitOperationAdd("x", b"1")], commit_message="m", create_pr=True
        )


def test_transformers_loads_from_it(hub: Running, tmp_path: Path) -> None:
    """transformers' own loader gets a tokenizer and a config from the local hub."""
    import subprocess
    import sys

    code = (
        "from transformers import AutoConfig, AutoTokenizer\n"
        f"t = AutoTokenizer.from_pretrained({synthetic('bert')!r}); c = AutoConfig.from_pretrained({synthetic('bert')!r})\n"
        "print(t.pad_token, c.pad_token_id)"
    )
    env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout.split() == ["[PAD]", "3"], done.stderr
