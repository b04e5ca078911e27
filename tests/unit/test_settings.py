from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from handrail.errors import RuntimeConfigError
from handrail.settings import Settings, load_settings


def load(folder: Path, flags: dict[str, Any] | None = None, **environment: str) -> Settings:
    return load_settings(flags=flags or {}, environment=environment, folder=folder)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def test_nothing_said_gives_the_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)

    assert settings == Settings(
        home=tmp_path / ".handrail",
        lease_seconds=30,
        log_level="INFO",
        max_workers=None,
        capture_output=True,
        tracking=True,
    )
    names = [field.name for field in dataclasses.fields(Settings) if field.compare]
    assert {settings.origin(name) for name in names} == {"default"}


def test_flags_come_before_the_environment_before_the_file_before_the_default(
    tmp_path: Path,
) -> None:
    write(tmp_path / "handrail.toml", "lease_seconds = 1\nmax_workers = 1\nlog_level = 'error'\n")
    settings = load(
        tmp_path,
        {"lease_seconds": 3, "max_workers": None},
        HANDRAIL_LEASE_SECONDS="2",
        HANDRAIL_MAX_WORKERS="2",
    )

    assert (settings.lease_seconds, settings.origin("lease_seconds")) == (3.0, "flag")
    assert settings.max_workers == 2
    assert settings.origin("max_workers") == "environment HANDRAIL_MAX_WORKERS"
    assert settings.log_level == "ERROR"
    assert settings.origin("log_level") == f"handrail.toml ({tmp_path})"
    assert settings.origin("tracking") == "default"


def test_the_nearest_file_above_counts_and_it_alone(tmp_path: Path) -> None:
    write(tmp_path / "handrail.toml", "max_workers = 1\nlease_seconds = 1\n")
    write(tmp_path / "songs/pyproject.toml", "[tool.handrail]\nmax_workers = 2\n")
    folder = tmp_path / "songs/charts/daily"
    folder.mkdir(parents=True)

    settings = load(folder)

    assert settings.max_workers == 2
    assert settings.lease_seconds == 30
    assert settings.origin("max_workers") == f"pyproject.toml ({tmp_path / 'songs'})"


def test_in_one_folder_handrail_toml_wins(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", "[tool.handrail]\nmax_workers = 2\n")
    write(tmp_path / "handrail.toml", "max_workers = 1\n")

    assert load(tmp_path).max_workers == 1


def test_a_pyproject_without_our_table_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "handrail.toml", "max_workers = 1\n")
    write(tmp_path / "songs/pyproject.toml", "tool.other.max_workers = 5\n")

    assert load(tmp_path / "songs").max_workers == 1


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    write(tmp_path / "handrail.toml", "max_workers = 1\n")
    assert load(tmp_path).max_workers == 1

    write(tmp_path / "handrail.toml", "max_workers = 22\n")

    assert load(tmp_path).max_workers == 22


def test_paths_start_where_they_are_written(tmp_path: Path) -> None:
    write(tmp_path / "handrail.toml", "home = 'kept'\n")
    folder = tmp_path / "below"

    assert load(folder).home == tmp_path / "kept"
    assert load(folder, HANDRAIL_HOME="../there").home == tmp_path / "there"
    assert load(folder, {"home": Path("here")}).home == folder / "here"
    assert load(folder, HANDRAIL_HOME=str(tmp_path)).home == tmp_path


def test_a_home_may_start_at_the_users_own(tmp_path: Path) -> None:
    assert load(tmp_path, HANDRAIL_HOME="~/kept").home == Path.home() / "kept"


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "True", " ON "])
def test_words_for_true(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, HANDRAIL_TRACKING=text).tracking is True


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "False", "NO"])
def test_words_for_false(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, HANDRAIL_TRACKING=text).tracking is False
    assert load(tmp_path, {"tracking": False}).tracking is False


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("tracking", "maybe", "one of true, false, 1, 0, yes, no, on, off"),
        ("capture_output", "2", "one of true, false, 1, 0, yes, no, on, off"),
        ("lease_seconds", "soon", "a number of seconds larger than 0"),
        ("lease_seconds", "0", "a number of seconds larger than 0"),
        ("lease_seconds", "-1", "a number of seconds larger than 0"),
        ("lease_seconds", "nan", "a number of seconds larger than 0"),
        ("lease_seconds", "inf", "a number of seconds larger than 0"),
        ("log_level", "LOUD", "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("max_workers", "0", "a whole number from 1"),
        ("max_workers", "2.5", "a whole number from 1"),
        ("home", "a\0b", "the path of a folder"),
    ],
)
def test_a_bad_value_is_refused_with_its_origin_and_what_is_expected(
    tmp_path: Path, name: str, value: str, expected: str
) -> None:
    variable = f"HANDRAIL_{name.upper()}"

    with pytest.raises(RuntimeConfigError) as caught:
        load_settings(environment={variable: value}, folder=tmp_path)

    assert str(caught.value).startswith(
        f"Setting '{name}' from environment {variable} is {value!r}; expected {expected}"
    )


@pytest.mark.parametrize(
    "line",
    ["lease_seconds = true", "max_workers = 1.0", "home = 5", "log_level = 10", "tracking = []"],
)
def test_a_value_of_another_kind_in_a_file_is_refused(tmp_path: Path, line: str) -> None:
    write(tmp_path / "handrail.toml", line)

    with pytest.raises(RuntimeConfigError, match=r"from handrail\.toml \(.*; expected"):
        load(tmp_path)


def test_an_unknown_key_in_a_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", "[tool.handrail]\nlease_second = 5\n")

    with pytest.raises(RuntimeConfigError) as caught:
        load(tmp_path)

    assert str(caught.value) == (
        f"Unknown setting 'lease_second' from pyproject.toml ({tmp_path}). "
        f"Did you mean 'lease_seconds'?"
    )


def test_an_unknown_key_without_a_near_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(RuntimeConfigError, match=r"'zzz' from flag\. Known settings: home, lease"):
        load(tmp_path, {"zzz": 1})


def test_unknown_variables_are_kept_and_do_no_harm(tmp_path: Path) -> None:
    settings = load(tmp_path, HANDRAIL_LEASE="5", HANDRAIL_AA="x", OTHER="y", HANDRAIL_HOME="h")

    assert settings.unknown == ("HANDRAIL_AA", "HANDRAIL_LEASE")


def test_an_empty_variable_is_one_that_is_not_set(tmp_path: Path) -> None:
    settings = load(tmp_path, HANDRAIL_HOME="", HANDRAIL_MAX_WORKERS=" ")

    assert settings.home == tmp_path / ".handrail"
    assert settings.origin("home") == "default"
    assert settings.max_workers is None


@pytest.mark.parametrize("content", [b"max_workers = ", b"\xff"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "handrail.toml").write_bytes(content)

    with pytest.raises(RuntimeConfigError, match=r"handrail\.toml cannot be read: "):
        load(tmp_path)


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", "tool.handrail = 5\n")

    with pytest.raises(RuntimeConfigError, match=r"tool\.handrail is 5; expected a table"):
        load(tmp_path)


def test_settings_with_equal_values_are_one_key_wherever_they_came_from(tmp_path: Path) -> None:
    said = load(tmp_path, HANDRAIL_MAX_WORKERS="2", HANDRAIL_X="")
    flag = load(tmp_path, {"max_workers": 2})

    assert {said: 1}[flag] == 1
    assert said != load(tmp_path)


def test_the_origin_of_what_is_no_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeConfigError, match=r"no setting 'hom'\. Did you mean 'home'\?"):
        load(tmp_path).origin("hom")


def test_without_arguments_the_process_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANDRAIL_HOME", "kept")

    assert load_settings().home == Path(os.path.realpath(tmp_path)) / "kept"


@pytest.mark.parametrize(
    "url", ["redis://me:hidden@host:6379/1", "rediss://host", "unix:///run/redis.sock"]
)
def test_the_address_of_channels_is_taken_and_not_shown(tmp_path: Path, url: str) -> None:
    settings = load(tmp_path, HANDRAIL_CHANNEL_URL=url)
    assert settings.channel_url is not None
    assert settings.channel_url.get_secret_value() == url
    assert "hidden" not in f"{settings} {settings.channel_url}"
    assert load(tmp_path).channel_url is None


@pytest.mark.parametrize("url", ["postgresql://me:hidden@host/db", "postgres://host"])
def test_the_address_of_a_database_is_taken_and_not_shown(tmp_path: Path, url: str) -> None:
    settings = load(tmp_path, HANDRAIL_DATABASE_URL=f" {url} ")
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == url
    assert "hidden" not in f"{settings!r} {settings.database_url}"


def test_a_database_file_is_found_from_where_its_path_is_written(tmp_path: Path) -> None:
    def path(settings: Settings) -> str:
        assert settings.database_url is not None
        return settings.database_url.get_secret_value()

    write(tmp_path / "handrail.toml", "database_url = 'sqlite:///kept/runs.db'\n")
    folder = tmp_path / "below"
    assert path(load(folder)) == f"sqlite:///{tmp_path}/kept/runs.db"
    assert path(load(folder, HANDRAIL_DATABASE_URL="sqlite:///a.db")) == f"sqlite:///{folder}/a.db"
    assert path(load(folder, HANDRAIL_DATABASE_URL="sqlite:////a.db")) == "sqlite:////a.db"


@pytest.mark.parametrize("url", ["mysql://me:hidden@host", "sqlite://a", "sqlite:///", "hidden"])
def test_another_address_of_a_database_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(RuntimeConfigError, match=r"'database_url' .*expected postgres") as caught:
        load(tmp_path, HANDRAIL_DATABASE_URL=url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("url", ["host:6379", "postgresql://me:hidden@host", "redis://"])
def test_another_address_of_channels_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(RuntimeConfigError, match=r"'channel_url' .*expected redis://") as caught:
        load(tmp_path, HANDRAIL_CHANNEL_URL=url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://songs/shared?secret_access_key=hidden", "s3://songs"])
def test_the_address_of_objects_is_taken_and_not_shown(tmp_path: Path, url: str) -> None:
    settings = load(tmp_path, HANDRAIL_OBJECTS_URL=url)
    assert settings.objects_url is not None
    assert settings.objects_url.get_secret_value() == url
    assert "hidden" not in f"{settings!r} {settings.objects_url}"
    assert load(tmp_path).objects_url is None


@pytest.mark.parametrize(
    "url", ["songs/hidden", "http://me:hidden@host", "s3://", "s3:///hidden", "gs://hidden"]
)
def test_another_address_of_objects_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(RuntimeConfigError, match=r"'objects_url' .*expected s3://") as caught:
        load(tmp_path, HANDRAIL_OBJECTS_URL=url)
    assert "hidden" not in str(caught.value)


def test_how_much_of_the_objects_is_cached_is_bytes(tmp_path: Path) -> None:
    assert load(tmp_path).objects_cache_bytes == 10_000_000_000
    assert load(tmp_path, HANDRAIL_OBJECTS_CACHE_BYTES="5000").objects_cache_bytes == 5000
    with pytest.raises(RuntimeConfigError, match="bytes"):
        load(tmp_path, HANDRAIL_OBJECTS_CACHE_BYTES="0")


def test_how_long_channels_are_kept_is_seconds(tmp_path: Path) -> None:
    assert load(tmp_path).channel_keep_seconds == 7 * 24 * 3600
    assert load(tmp_path, HANDRAIL_CHANNEL_KEEP_SECONDS="60").channel_keep_seconds == 60.0


@pytest.mark.parametrize("said", ["console, pkg.mod:Mine,,console ", ["console", "pkg.mod:Mine"]])
def test_watchers_are_a_list_or_text_with_commas(tmp_path: Path, said: Any) -> None:
    assert load(tmp_path, {"watchers": said}).watchers == ("console", "pkg.mod:Mine")


@pytest.mark.parametrize("said", [3, {"console": 1}, ["console", 1]])
def test_watchers_that_are_no_names_are_refused(tmp_path: Path, said: Any) -> None:
    with pytest.raises(RuntimeConfigError, match="expected a list of names"):
        load(tmp_path, {"watchers": said})


def test_a_secret_setting_is_never_shown(tmp_path: Path) -> None:
    settings = load(tmp_path, HANDRAIL_WEBHOOK_URL="https://host/T0K3N ")
    assert settings.webhook_url is not None
    assert settings.webhook_url.get_secret_value() == "https://host/T0K3N"
    assert "T0K3N" not in repr(settings)
    with pytest.raises(RuntimeConfigError, match="'webhook_secret' from flag cannot be used") as e:
        load(tmp_path, {"webhook_secret": 4711})
    assert "4711" not in str(e.value)


def test_an_unknown_form_of_webhook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeConfigError, match="'xml'; expected json or slack"):
        load(tmp_path, HANDRAIL_WEBHOOK_FORMAT="xml")


# Limits


def test_limits_are_the_same_from_a_table_and_from_the_environment(tmp_path: Path) -> None:
    write(tmp_path / "a/handrail.toml", "[limits]\ndb = 2\napi = '10/s'\nboth = '4, 10/min'\n")
    write(tmp_path / "b/pyproject.toml", "[tool.handrail.limits]\n'task:load' = 1\n")

    expected = ("api=10/s", "both=4, 10/min", "db=2")
    assert load(tmp_path / "a").limits == expected
    assert load(tmp_path, HANDRAIL_LIMITS="db = 2; api=10/s;\nboth=4, 10/min").limits == expected
    assert (
        load(tmp_path, {"limits": {"db": 2, "api": "10/s", "both": "4, 10/min"}}).limits == expected
    )
    assert load(tmp_path, {"limits": expected}).limits == expected
    assert load(tmp_path / "b").limits == ("task:load=1",)


@pytest.mark.parametrize(
    "value", ["db", "db=", "=2", "db=1=2", "db=1;db=2", {"db": 1.5}, {"db": True}, {5: 1}, [5], 5]
)
def test_what_is_no_table_of_limits_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(RuntimeConfigError, match=r"expected a table of limits by tag, such as"):
        load(tmp_path, {"limits": value})


def test_how_files_of_attempts_are_made_can_be_said(tmp_path: Path) -> None:
    assert load(tmp_path).checkout is None
    assert load(tmp_path, HANDRAIL_CHECKOUT="copies").checkout == "copies"
    assert load(tmp_path).trees_cache_bytes is None
    assert load(tmp_path, HANDRAIL_TREES_CACHE_BYTES="1000").trees_cache_bytes == 1000
    with pytest.raises(RuntimeConfigError, match="overlay, reflink or copies"):
        load(tmp_path, HANDRAIL_CHECKOUT="links")
