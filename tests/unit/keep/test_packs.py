from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from handrail.contracts.workspace import BranchName
from handrail.errors import StoreCorruptError, StoreError, StoreVersionError, UnknownRefError
from handrail.keep.base import Commit, TreeEntry
from handrail.keep.objects import PIECE_BYTES, FileObjects
from handrail.keep.packs import Imported, read_pack, write_pack
from handrail.keep.trees import Trees
from tests.unit.keep.songs import Songs

FILES = {"a.txt": "a", "raw/one.csv": "1", "link": "-> a.txt"}


@pytest.fixture
def songs(tmp_path: Path) -> Songs:
    return Songs(tmp_path / "made")


@pytest.fixture
def other(tmp_path: Path) -> Songs:
    """Another home."""
    return Songs(tmp_path / "other")


def packed(songs: Songs) -> bytes:
    file = io.BytesIO()
    write_pack(songs.repository, songs.trees, file)
    return file.getvalue()


def take(songs: Songs, pack: bytes, name: str | None = None) -> Imported:
    return read_pack(io.BytesIO(pack), "songs.pack", songs.trees, songs.heads, name=name)


def members(pack: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(pack)) as tar:
        found = [(member.name, tar.extractfile(member)) for member in tar.getmembers()]
        return [(name, file.read() if file else b"") for name, file in found]


def rewritten(pack: bytes, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> bytes:
    """The pack with its members changed; none leaves one out."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members(pack):
            changed = change(name, content)
            if changed is not None:
                info = tarfile.TarInfo(changed[0])
                info.size = len(changed[1])
                tar.addfile(info, io.BytesIO(changed[1]))
    return file.getvalue()


def test_a_repository_comes_out_as_it_went_in(songs: Songs, other: Songs) -> None:
    first = songs.commit(FILES, at=1)
    songs.repository.tag("v1")
    second = songs.commit({**FILES, "a.txt": "later"}, at=2)
    songs.repository.create_branch("old", first)
    songs.heads.move_head(BranchName("songs", "~run"), None, first)

    done = take(other, packed(songs))

    assert other.repository.branches() == {"main": second, "old": first}
    assert other.repository.tags() == {"v1": first}
    assert [commit_id for commit_id, _ in other.repository.log()] == [second, first]
    assert {path: other.repository["v1"].read_text(path) for path in other.repository["v1"]} == {
        "a.txt": "a",
        "link": "a",
        "raw/one.csv": "1",
    }
    assert set(done.created) == {"songs@main", "songs@old", "songs@v1"}
    assert done.stored_count == done.manifest.object_count == len(members(packed(songs))) - 2


def test_equal_repositories_make_equal_packs(songs: Songs, other: Songs) -> None:
    songs.commit(FILES)
    take(other, packed(songs))
    assert packed(other) == packed(songs)


def test_a_pack_is_what_its_format_says(songs: Songs) -> None:
    head = songs.commit({"a.txt": "a"})
    (first, manifest), *objects, (last, end) = members(packed(songs))
    assert (first, last) == ("handrail-pack.json", "end.json")
    assert json.loads(manifest) == {
        "format": 1,
        "repository": "songs",
        "branches": {"main": head},
        "tags": {},
        **json.loads(end),
    }
    assert json.loads(end)["object_count"] == len(objects) == 3
    assert json.loads(end)["size_bytes"] == sum(len(content) for _, content in objects)
    assert objects[0][0] == f"objects/{head[:2]}/{head[2:]}"
    assert objects[-1][1] == b"a"


def test_importing_again_changes_nothing(songs: Songs, other: Songs) -> None:
    songs.commit(FILES)
    take(other, packed(songs))
    again = take(other, packed(songs))
    assert (again.created, again.forwarded, again.kept) == ((), (), ("songs@main",))
    assert again.stored_count == 0


def test_branches_are_moved_forward_and_never_back(songs: Songs, other: Songs) -> None:
    songs.commit({"a.txt": "1"}, at=1)
    early = packed(songs)
    head = songs.commit({"a.txt": "2"}, at=2)
    take(other, early)
    assert take(other, packed(songs)).forwarded == ("songs@main",)
    assert other.repository.head() == head
    assert take(other, early).kept == ("songs@main",)
    assert other.repository.head() == head


def test_branches_that_parted_are_refused_before_anything_moves(songs: Songs, other: Songs) -> None:
    songs.commit({"a.txt": "1"})
    songs.repository.create_branch("extra")
    mine = other.commit({"b.txt": "2"})
    with pytest.raises(StoreError, match=r"neither follows the other.*--as NAME"):
        take(other, packed(songs))
    assert other.repository.branches() == {"main": mine}
    assert take(other, packed(songs), "theirs").created == ("theirs@extra", "theirs@main")


def test_tags_that_differ_are_refused(songs: Songs, other: Songs) -> None:
    songs.commit({"a.txt": "1"})
    songs.repository.tag("v1")
    other.commit({"b.txt": "2"}, "dev")
    other.repository.tag("v1", "dev")
    with pytest.raises(StoreError, match=r"songs@v1 is at \w+ here"):
        take(other, packed(songs))
    assert "main" not in other.repository.branches()


def test_a_name_that_is_a_tag_there_and_a_branch_here_is_refused(
    songs: Songs, other: Songs
) -> None:
    songs.commit({"a.txt": "1"})
    songs.repository.tag("v1")
    other.commit({"b.txt": "2"}, "v1")
    with pytest.raises(StoreError, match="a branch in one place and a tag in the other"):
        take(other, packed(songs))
    assert list(other.repository) == ["v1"]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 1])
def test_a_pack_that_is_cut_off_is_refused(songs: Songs, other: Songs, part: float) -> None:
    songs.commit({f"{number}.txt": "x" * 600 * number for number in range(9)})
    pack = packed(songs)
    end = pack.index(b"end.json")  # what comes behind is padding
    with pytest.raises(StoreCorruptError, match=r"songs\.pack"):
        take(other, pack[: int(end * part)])
    assert other.heads.heads() == {}


def test_every_byte_of_a_content_counts(songs: Songs, other: Songs) -> None:
    songs.commit({"a.txt": "anchor", "b.txt": "b" * (PIECE_BYTES + 1)})
    for place in (b"anchor", b"bbbbbb"):
        with pytest.raises(StoreCorruptError, match="does not have the content"):
            take(other, packed(songs).replace(place, b"Xnchor", 1))
    assert other.heads.heads() == {}


def test_a_pack_without_an_object_is_refused_even_if_that_is_here(
    songs: Songs, other: Songs
) -> None:
    songs.commit({"a.txt": "anchor"})
    pack = packed(songs)
    other.trees.objects.put_bytes(b"anchor")

    def without(name: str, content: bytes) -> tuple[str, bytes] | None:
        if content == b"anchor":
            return None
        if name in ("end.json", "handrail-pack.json"):
            found = json.loads(content)
            found["object_count"] -= 1
            found["size_bytes"] -= 6
            content = json.dumps(found).encode()
        return name, content

    with pytest.raises(StoreCorruptError, match="lacks 1 objects"):
        take(other, rewritten(pack, without))
    with pytest.raises(StoreCorruptError, match="is cut off or damaged"):
        take(other, rewritten(pack, lambda n, c: None if c == b"anchor" else (n, c)))
    assert other.heads.heads() == {}


def test_a_folder_that_lies_about_a_length_is_refused(songs: Songs, other: Songs) -> None:
    info = songs.trees.objects.put_bytes(b"anchor")
    tree = songs.trees.put_tree([TreeEntry("a", "file", 0o644, info.digest, 7)])
    commit = songs.trees.put_commit(Commit(tree, (), "", 1))
    songs.heads.move_head(BranchName("songs"), None, commit)
    with pytest.raises(StoreCorruptError):
        packed(songs)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("handrail-pack.json", b'{"format": 2}', "2"),
        ("handrail-pack.json", b"[]", "is no exported repository"),
        ("handrail-pack.json", b'{"format": 1}', "is no exported repository"),
        ("other.json", b"{}", "is no exported repository"),
    ],
)
def test_other_files_are_no_packs(
    songs: Songs, other: Songs, name: str, content: bytes, problem: str
) -> None:
    songs.commit(FILES)
    pack = rewritten(
        packed(songs), lambda n, c: (name, content) if n == "handrail-pack.json" else (n, c)
    )
    with pytest.raises((StoreVersionError, StoreCorruptError), match=problem):
        take(other, pack)
    with pytest.raises(StoreCorruptError, match="is no exported repository"):
        take(other, b"something else" * 100)
    with pytest.raises(StoreCorruptError):
        take(other, b"")


def test_heads_that_could_not_be_are_refused(songs: Songs, other: Songs) -> None:
    songs.commit(FILES)

    def rename(name: str, content: bytes) -> tuple[str, bytes]:
        return name, content.replace(b'"main"', b'"~run"')

    with pytest.raises(StoreCorruptError, match="is no exported repository"):
        take(other, rewritten(packed(songs), rename))


def test_a_member_that_no_pack_has_is_refused(songs: Songs, other: Songs) -> None:
    songs.commit({"a.txt": "anchor"})

    def rename(name: str, content: bytes) -> tuple[str, bytes]:
        return ("../../etc/passwd" if content == b"anchor" else name), content

    with pytest.raises(StoreCorruptError, match="which no pack has"):
        take(other, rewritten(packed(songs), rename))


def test_a_damaged_or_missing_object_is_not_exported(songs: Songs, tmp_path: Path) -> None:
    songs.commit({"a.txt": "anchor"})
    objects = FileObjects(tmp_path / "objects")
    trees = Trees(objects)
    for digest in songs.trees.objects.digests():
        objects.put_bytes(songs.trees.objects.read_bytes(digest))
    digest = objects.put_bytes(b"anchor").digest
    path = objects.folder / digest[:2] / digest[2:]
    for content in (b"Xnchor", b"anch", b"anchors"):
        path.unlink()
        path.write_bytes(content)
        with pytest.raises(StoreCorruptError, match=digest):
            write_pack(songs.repository, trees, io.BytesIO())
    path.unlink()
    with pytest.raises(UnknownRefError, match=digest):
        write_pack(songs.repository, trees, io.BytesIO())


def test_a_repository_that_is_not_there_is_not_exported(songs: Songs) -> None:
    with pytest.raises(UnknownRefError, match="has no branches"):
        packed(songs)


def test_long_contents_pass_through_the_disk(songs: Songs, tmp_path: Path) -> None:
    songs.commit({"a.txt": "b" * (2 * PIECE_BYTES + 1)})
    there, scratch = FileObjects(tmp_path / "there"), tmp_path / "scratch"
    scratch.mkdir()
    told: list[int] = []
    begun: list[int] = []
    done = read_pack(
        io.BytesIO(packed(songs)),
        "songs.pack",
        Trees(there),
        songs.heads,
        name="again",
        scratch=scratch,
        begun=begun.append,
        told=told.append,
    )
    assert sum(told) == begun[0] == done.manifest.size_bytes
    assert 2 * PIECE_BYTES + 1 in told
    assert list(scratch.iterdir()) == []
    assert len(list(there.digests())) == 3


def test_an_import_that_was_interrupted_is_finished_by_another(songs: Songs, other: Songs) -> None:
    songs.commit({f"{number}.txt": str(number) for number in range(9)})
    pack = packed(songs)
    seen: list[int] = []

    def interrupt(size_bytes: int) -> None:
        seen.append(size_bytes)
        if len(seen) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_pack(io.BytesIO(pack), "songs.pack", other.trees, other.heads, told=interrupt)
    assert other.heads.heads() == {}
    done = take(other, pack)
    assert done.stored_count == done.manifest.object_count - 6
    assert len(other.repository.at()) == 9
