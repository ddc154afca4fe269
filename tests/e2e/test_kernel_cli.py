"""The command line on the running kernel: run, verify, prog, map, btf, feature, target. Nothing is attached."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import skep
from skep.collection import Object
from tests.conftest import Run

pytestmark = pytest.mark.kernel
SOURCE = Path(__file__).parent.parent / "engines" / "objects.bpf.c"
PACKET = bytes(12) + b"\x08\x00" + bytes(46)
NAME = "checksum"


@pytest.fixture
def live(kernel: None) -> Iterator[Object]:
    with skep.load(skep.compile(SOURCE), engine="kernel", programs=[NAME, "count", "push"]) as loaded:
        yield loaded


def ids(live: Object, *names: str) -> list[int]:
    return [live.programs[n].handle.id if n in live.programs else live.maps[n].handle.id for n in names]  # type: ignore[attr-defined]


def test_run_once_on_the_kernel(skep_cli: Run, tmp_path: Path, kernel: None) -> None:
    (tmp_path / "packet").write_bytes(PACKET)
    done = skep_cli("run", SOURCE, "--engine", "kernel", "--program", "count", "--data", "packet", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["retval"] == 2
    assert answer["maps"]["hits"] == [{"key": 0x0800, "value": {"packets": 1, "bytes": len(PACKET)}}]


def test_captures_are_refused_with_a_way_out(skep_cli: Run, tmp_path: Path) -> None:
    done = skep_cli("run", SOURCE, "--engine", "kernel", "--program", "count", "--pcap", "in.pcap")
    assert done.returncode == 2
    assert "help: leave out --engine" in done.stderr


def test_verify_asks_the_kernel(skep_cli: Run, kernel: None) -> None:
    done = skep_cli("verify", SOURCE, "--engine", "kernel", "--program", "bad", "--program", "count", "--json")
    assert done.returncode == 1
    bad, count = json.loads(done.stdout)
    assert (bad["verdict"], count["verdict"], count["diagnostics"]) == ("rejected", "accepted", [])
    assert count["processed_insns"] > 10
    assert bad["diagnostics"][0]["kernel"] == "R0 invalid mem access 'map_value_or_null'"
    verbose = skep_cli("verify", SOURCE, "--engine", "kernel", "--program", "bad", "-v")
    assert "processed " in verbose.stderr
    assert "; *value += 1;" in verbose.stderr


def test_programs_are_shown(skep_cli: Run, live: Object) -> None:
    (number,) = ids(live, NAME)
    row = json.loads(skep_cli("prog", "show", "id", number, "--json").stdout)
    assert (row["id"], row["type"], row["name"], row["gpl_compatible"]) == (number, "xdp", NAME, True)
    assert abs(row["loaded_at"] - time.time()) < 300
    assert row["pids"] == [{"pid": os.getpid(), "comm": Path("/proc/self/comm").read_text().strip()}]
    assert number in [found["id"] for found in json.loads(skep_cli("prog", "list", "--json").stdout)]
    plain = skep_cli("prog", "show", "tag", row["tag"]).stdout
    assert f"{number}: xdp  name {NAME}  tag {row['tag']}  gpl\n\tloaded_at " in plain


def test_code_is_dumped_with_source_lines(skep_cli: Run, live: Object) -> None:
    (number,) = ids(live, NAME)
    text = skep_cli("prog", "dump", "xlated", "id", number, "linum", "opcodes").stdout
    assert text.startswith(f"{NAME}:\n; ")
    assert "; if (data + 40 > (__u8 *)(long)ctx->data_end) [file:" in text
    assert "add:\n; " in text
    assert "illegal" not in text
    rows = json.loads(skep_cli("prog", "dump", "xlated", "id", number, "--json").stdout)
    assert rows[-1]["disasm"].endswith("(95) exit")


def test_machine_code_needs_capstone(skep_cli: Run, live: Object) -> None:
    (number,) = ids(live, NAME)
    done = skep_cli("prog", "dump", "jited", "id", number)
    try:
        import capstone  # noqa: F401
    except ImportError:
        assert "pip install 'skep[inspect]'" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{NAME}:\n   0:\t")


def test_a_program_runs_by_id(skep_cli: Run, live: Object, tmp_path: Path) -> None:
    (number,) = ids(live, "count")
    (tmp_path / "in").write_bytes(PACKET)
    done = skep_cli("prog", "run", "id", number, "data_in", "in", "data_out", "out", "repeat", 2, "--json")
    assert json.loads(done.stdout)["retval"] == 2
    assert (tmp_path / "out").read_bytes() == PACKET
    assert live.maps["hits"][0x0800]["packets"] == 2


def test_run_times_are_measured(skep_cli: Run, live: Object) -> None:
    (number,) = ids(live, "count")
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            live.programs["count"].run(PACKET, repeat=100)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        done = skep_cli("prog", "stats", "id", number, "--seconds", 0.3, "--json")
    finally:
        stop.set()
        worker.join()
    (row,) = json.loads(done.stdout)
    assert (row["id"], row["name"]) == (number, "count")
    assert row["run_cnt"] > 0
    assert row["ns_per_run"] > 0


def test_maps_are_read_and_written(skep_cli: Run, live: Object) -> None:
    (number,) = ids(live, "hits")
    assert skep_cli("map", "update", "id", number, "key", 7, "value", '{"packets": 3, "bytes": 4}').returncode == 0
    words = ["key", *["0x08", "0", "0", "0"], "value", "hex", *("00 " * 16).split(), "noexist"]
    assert skep_cli("map", "update", "id", number, *words).returncode == 0
    assert dict(live.maps["hits"].contents()) == {7: {"packets": 3, "bytes": 4}, 8: {"packets": 0, "bytes": 0}}
    rows = json.loads(skep_cli("map", "dump", "id", number, "--json").stdout)
    assert {row["formatted"]["key"] for row in rows} == {7, 8}
    assert rows[0]["key"][1:] == ["0x00"] * 3
    row = json.loads(skep_cli("map", "show", "id", number, "--json").stdout)
    assert (row["type"], row["bytes_key"], row["bytes_value"], row["max_entries"]) == ("hash", 4, 16, 256)
    assert skep_cli("map", "delete", "id", number, "key", 8).returncode == 0
    assert skep_cli("map", "delete", "id", number, "key", 8).returncode == 2
    assert json.loads(skep_cli("map", "getnext", "id", number, "--json").stdout)["next_key"][0] == "0x07"
    full = skep_cli("map", "update", "id", number, "key", 8, "value", 1, 2)
    assert "the value has 16 bytes, not 2" in full.stderr


def test_queues(skep_cli: Run, live: Object) -> None:
    (number,) = ids(live, "line")
    for value in (5, 6):
        done = skep_cli("map", "enqueue", "id", number, "value", value, 0, 0, 0)
        assert done.returncode == 0, done.stderr
    assert skep_cli("map", "peek", "id", number).stdout == "value: 05 00 00 00\n"
    assert skep_cli("map", "dequeue", "id", number).stdout == "value: 05 00 00 00\n"
    assert live.maps["line"].pop() == 6


def test_per_cpu_values_are_shown_by_cpu(skep_cli: Run, live: Object) -> None:
    with skep.load(skep.compile(SOURCE), engine="kernel", programs=["per_cpu"]) as other:
        (number,) = ids(other, "cpus")
        rows = json.loads(skep_cli("map", "dump", "id", number, "--json").stdout)
    assert [value["cpu"] for value in rows[0]["values"]] == list(range(len(rows[0]["values"])))


def test_types_are_listed(skep_cli: Run, live: Object) -> None:
    (number,) = ids(live, NAME)
    rows = json.loads(skep_cli("btf", "show", "--json").stdout)
    assert any(number in row.get("prog_ids", ()) for row in rows)
    assert rows[0]["kernel"] is True


def test_features_are_probed(skep_cli: Run, kernel: None) -> None:
    answer = json.loads(skep_cli("feature", "probe", "--json").stdout)
    assert answer["program_types"]["have_xdp_prog_type"] is True
    assert answer["map_types"]["have_hash_map_type"] is True
    assert answer["misc"]["have_v3_isa_extension"] is True
    assert "xdp prog_type" in skep_cli("feature", "probe").stdout.replace("_prog", " prog")


def test_a_target_travels_as_a_file(skep_cli: Run, kernel: None) -> None:
    if skep.host_btf() is None:
        pytest.skip("this kernel has no BTF")
    assert skep_cli("target", "save", "here.target").returncode == 0
    facts = json.loads(skep_cli("target", "show", "here.target", "--json").stdout)
    assert facts["name"].startswith("linux ")
    done = skep_cli("verify", SOURCE, "--target", "here.target", "--program", "count", "--json")
    assert json.loads(done.stdout)[0]["verdict"] == "accepted", done.stderr
    broken = skep_cli("target", "show", SOURCE)
    assert broken.returncode == 2
    assert "is not a target file" in broken.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("prog", "show", "id", "4294967295"), "E0241"),
        (("prog", "show", "something"), "U0320"),
        (("prog", "show", "name", "no-such-program"), "U0321"),
        (("map", "show", "id", "x"), "U0322"),
        (("map", "show", "pinned", "/no/such/pin"), "E0230"),
        (("map", "create", "/tmp/no-bpffs", "type", "hash", "key", "4", "value", "4", "entries", "1"), "E0230"),
        (("map", "create", "/tmp/no-bpffs", "type", "hasch"), "U0203"),
    ],
)
def test_mistakes_are_explained(skep_cli: Run, kernel: None, words: tuple[str, ...], code: str) -> None:
    done = skep_cli(*words, "--json") if words[1] == "show" else skep_cli(*words)
    assert done.returncode in (1, 2)
    assert code in done.stderr
    assert "Traceback" not in done.stderr


def test_types_of_another_kernel_from_a_file(skep_cli: Run, tmp_path: Path, kernel: None) -> None:
    from skep.btf.types import Btf, Int, Member, Struct, Void
    from skep.btf.writer import encode_btf

    source = tmp_path / "core.bpf.c"
    source.write_text(
        "struct task_struct { int pid; } __attribute__((preserve_access_index));\n"
        "#define SEC(name) __attribute__((section(name), used))\n"
        'SEC("raw_tp/x") int where(void *ctx)\n'
        "{ return __builtin_preserve_field_info(((struct task_struct *)0)->pid, 0); }\n"
        'char _license[] SEC("license") = "GPL";\n'
    )
    number = Int("int", 4, 32, signed=True)
    types = Btf((Void(), number, Struct("task_struct", 4096, (Member("pid", 1, 2468 * 8),))))
    (tmp_path / "other.btf").write_bytes(encode_btf(types))
    (tmp_path / "ctx").write_bytes(bytes(8))
    words = ("run", source, "--engine", "kernel", "--ctx", "ctx", "--json")
    done = skep_cli(*words, "--btf", "other.btf")
    assert json.loads(done.stdout)["retval"] == 2468, done.stderr
    done = skep_cli(*words, "--btf", source)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    missing = skep_cli(*words, "--btf", "nowhere.btf")
    assert "B0004" in missing.stderr
