"""Job files: what is read, and the line and advice of every refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from farlane.domain.jobs import Durability
from farlane.domain.resources import GpuRequest, Resources
from farlane.domain.units import CREDIT
from farlane.errors import InvalidJob, NotFound, TooLarge
from farlane.sdk.job_file import JobFile, load_job_file, parse_job_file

NOW = 1_750_000_000.0
FULL = """
name: sweep
tasks: 12
resources:
  cpu: 2
  memory: 4GB
  gpu: A100-80GB:2
  disk: 20GB
setup: pip list
run: |
  python train.py --seed $FARLANE_TASK_INDEX
env:
  SEED: 0755
  ON: yes
  RATE: 1.10
retry: 3
priority: 70
max_duration: 1h30m
deadline: 2h
max_price: 0.25
budget: 10
outputs: ["out/*.json"]
durability: relaxed
labels: {zone: north}
estimate: 5m
nodes: 1
"""


def parse(text: str, directory: Path = Path()) -> JobFile:
    return parse_job_file(text.encode(), "job.yaml", directory, NOW)


def test_every_key_reaches_the_specification() -> None:
    found = parse(FULL)
    spec = found.spec
    assert (spec.name, found.tasks) == ("sweep", 12)
    assert spec.resources == Resources(2000, 4 * 10**9, 20 * 10**9, GpuRequest(2, "A100", 80 * 10**9))
    assert spec.command is not None
    assert spec.command.run == "python train.py --seed $FARLANE_TASK_INDEX\n"
    assert (spec.command.setup, spec.command.outputs) == ("pip list", ("out/*.json",))
    assert (spec.retries, spec.priority, spec.timeout_ms) == (3, 70, 5_400_000)
    assert (spec.deadline_at, spec.max_price, spec.budget) == (NOW + 7200, CREDIT // 4, 10 * CREDIT)
    assert (spec.durability, spec.labels, spec.estimate_ms) == (
        Durability.RELAXED,
        (("zone", "north"),),
        300_000,
    )


def test_run_times_are_learnt_by_what_runs() -> None:
    one, same, other = (
        parse(text).spec.profile for text in ("run: a", "name: x\nrun: a", "run: a\nsetup: b")
    )
    assert one == same
    assert one != other


def test_variables_are_taken_as_they_are_written() -> None:
    assert parse(FULL).spec.env == (("ON", "yes"), ("RATE", "1.10"), ("SEED", "0755"))


def test_a_command_alone_is_a_job_named_after_its_file() -> None:
    found = parse("run: echo hello")
    assert (found.spec.name, found.tasks, found.files) == ("job", 1, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "job.yaml is empty; expected a mapping"),
        ("- run", "job.yaml:1: the job file is a list; expected a mapping"),
        ("name: x", "job.yaml:1: key 'run' is missing"),
        ("run: ''", "job.yaml:1: run is empty"),
        ("run: x\nrnu: y", "job.yaml:2: unknown key 'rnu' in the job file; did you mean 'run'"),
        (
            "run: x\nresources:\n  memroy: 1GB",
            "job.yaml:3: unknown key 'memroy' in resources; did you mean 'memory'",
        ),
        (
            "run: x\nimage: ubuntu",
            "job.yaml:2: 'image' is known, but not available in this version; remove it",
        ),
        ("run: x\nsecrets: [A]", "job.yaml:2: 'secrets' is known, but not available"),
        ("run: x\nports: [80]", "job.yaml:2: 'ports' is known, but not available"),
        ("run: x\nnodes: 2", "job.yaml:2: 'nodes' is known, but not available"),
        ("run: x\nmodel: m", "job.yaml:2: 'model' is known, but not available"),
        ("run: x\nverify: quorum", "job.yaml:2: 'verify' is known, but not available"),
        ("run: x\nimage:", "job.yaml:2: 'image' is known, but not available"),
        ("run: x\nrun: y", "job.yaml:2: key 'run' stands twice .first on line 1"),
        ("run: x\nresources: big", "job.yaml:2: resources is 'big'; expected a mapping"),
        ("run: x\nresources: {cpu: 0}", "job.yaml:2: cpu is 0 thousandths of a core; expected 1"),
        (
            "run: x\nresources:\n  cpu: 1\n  memory: 16",
            "job.yaml:4: memory: 16 is 16 bytes, too little .* '16GB'",
        ),
        ("run: x\nresources:\n  gpu: '24GB..48GB'", "job.yaml:3: gpu .* only a lower bound of memory"),
        ("run: x\nresources: {cpu: [1]}", "job.yaml:2: cpu is a list; expected a single value"),
        ("run: x\npriority: 200", "job.yaml:2: priority is 200; expected a whole number from 0 to 100"),
        ("run: x\npriority: high", "job.yaml:2: priority is 'high'; expected a whole number"),
        ("run: x\nretry: -1", "job.yaml:2: retry is -1; expected a whole number from 0"),
        ("run: x\nretry: true", "job.yaml:2: retry is True; expected a whole number"),
        ("run: x\ntasks: 0", "job.yaml:2: tasks is 0; expected a whole number from 1"),
        ("run: x\nmax_duration: never", "job.yaml:2: max_duration: 'never' is not a duration"),
        ("run: x\nbudget: -3", "job.yaml:2: budget: -3 is not an amount of credits"),
        ("run: x\ndeadline: 2001-01-01T00:00:00Z", "job.yaml:2: deadline 2001.* has passed"),
        ("run: x\ndeadline: 2100-01-01T00:00:00", "job.yaml:2: deadline .* no time zone"),
        ("run: x\nname: [a]", "job.yaml:2: name is a list; expected a text"),
        ("run: x\nname: 12", "job.yaml:2: name is '12'; expected a text .quote it"),
        ("run: 5", "job.yaml:1: run is '5'; expected a text"),
        ("run: x\nenv: [A]", "job.yaml:2: env is a list; expected a mapping"),
        ("run: x\nenv:\n  A:", "job.yaml:3: env: A is empty; expected a text"),
        ("run: x\nenv:\n  A: {b: c}", "job.yaml:3: env: A is a mapping; expected a text"),
        ("run: x\nenv: {A-B: c}", "job.yaml:2: env: 'A-B' is not a variable name"),
        ("run: x\nlabels: {zone: 'a b'}", "job.yaml:2: labels: 'a b' is not a label"),
        ("run: x\noutputs: out.txt", "job.yaml:2: outputs is 'out.txt'; expected a list of paths"),
        ("run: x\noutputs:\n- ok\n- ../up", "job.yaml:4: '../up' is not a path inside the working directory"),
        ("run: x\noutputs: [/etc/passwd]", "job.yaml:2: '/etc/passwd' is not a path inside"),
        ("run: x\ninputs: [none.txt]", "job.yaml:2: input 'none.txt' cannot be read: No such file"),
        ("run: x\ninputs: {../a: b}", "job.yaml:2: '../a' is not a path inside"),
        ("run: x\nworkdir: nowhere", "job.yaml:2: workdir 'nowhere' is not a directory"),
        ("run: x\ndurability: solid", "job.yaml:2: durability is 'solid'"),
        ("run: [unclosed", "job.yaml:1: not YAML"),
        ("run: x\n\tname: y", "job.yaml:2: not YAML"),
        (
            "run: !!python/object/apply:os.system ['id']",
            "job.yaml:1: the tag .*python/object.* is not allowed",
        ),
        ("run: !own x", "job.yaml:1: the tag '!own' is not allowed"),
        ("? [a]\n: b", "job.yaml:1: a key must be a plain text"),
        ("base: &b {cpu: 1}\nresources:\n  <<: *b\nrun: x", "job.yaml:3: merge keys"),
        ("run: x\n---\nrun: y", "job.yaml:2: not YAML"),
        ("run: x\nenv: &e\n  A: *e", "job.yaml:2: an alias contains itself"),
        ("run: x\nname: " + "[" * 50 + "]" * 50, "job.yaml:2: not YAML: nested more than 20 deep"),
        ("run: 'a\0b'", "not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(InvalidJob, match=message):
        parse(text)


def test_an_alias_bomb_is_refused_before_it_expands() -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    with pytest.raises(InvalidJob, match="more than 20000 values once aliases are expanded"):
        parse(f"l0: &l0 [x, x]\n{levels}\nrun: x")


def test_an_alias_is_a_value_used_twice() -> None:
    assert parse("run: &r echo hi\nsetup: *r").spec.command.setup == "echo hi"  # type: ignore[union-attr]


def test_a_huge_file_is_refused_unread() -> None:
    with pytest.raises(TooLarge, match="expected at most 262144"):
        parse("run: " + "x" * 300_000)


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(InvalidJob, match="expected UTF-8"):
        parse_job_file(b"run: \xff\xfe", "job.yaml", Path(), NOW)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(NotFound, match=r"job file 'none.yaml' cannot be read: No such file"):
        load_job_file(Path("none.yaml"), NOW)


def test_a_working_directory_and_inputs_become_files(tmp_path: Path) -> None:
    (tmp_path / "code" / "pkg").mkdir(parents=True)
    (tmp_path / "code" / "main.py").write_text("print(1)")
    (tmp_path / "code" / "pkg" / "a.py").write_text("a = 1")
    (tmp_path / "code" / ".git").mkdir()
    (tmp_path / "code" / ".git" / "config").write_text("secret")
    (tmp_path / "code" / "__pycache__").mkdir()
    (tmp_path / "code" / "__pycache__" / "main.pyc").write_text("x")
    (tmp_path / "code" / "link").symlink_to("/etc/hostname")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_text("1,2")
    (tmp_path / "job.yaml").write_text("run: x\nworkdir: code\ninputs:\n- data/x.csv\n- data")
    found = load_job_file(tmp_path / "job.yaml", NOW)
    assert [(file.path, file.size_bytes) for file in found.files] == [
        ("main.py", 8), ("pkg/a.py", 5), ("data/x.csv", 3),
    ]  # fmt: skip


def test_inputs_can_be_given_other_places(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,2")
    (tmp_path / "job.yaml").write_text("run: x\ninputs: {in/table.csv: x.csv}")
    assert [file.path for file in load_job_file(tmp_path / "job.yaml", NOW).files] == ["in/table.csv"]


def test_an_input_from_outside_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,2")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "job.yaml").write_text("run: x\ninputs: [../x.csv]")
    assert [file.path for file in load_job_file(tmp_path / "jobs" / "job.yaml", NOW).files] == ["x.csv"]
