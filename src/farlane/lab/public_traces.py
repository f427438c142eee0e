"""The public traces that can be fetched: where each is, the SHA-256 of its bytes, and on which terms it may be used."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.errors import NotFound
from farlane.kit.suggestions import hint

ARCHIVE_TERMS = "acknowledge the Parallel Workloads Archive and who provided the log"
SDSC_TERMS = (
    "copyright 2000 The Regents of the University of California: educational, research and non-profit use, with the "
    "notice in its header kept; acknowledge the Parallel Workloads Archive and Victor Hazlewood"
)
STUDY_TERMS = "published by Alibaba for research or study, in a repository under Apache-2.0"
NO_TERMS = "its repository names no licence: use it for your own study, and do not pass it on"
PHILLY_TERMS = "CC-BY-4.0 (Microsoft; cite Jeon et al., USENIX ATC 2019), as a table under MIT"
GAVEL_TERMS = "MIT"
_RAW = "https://raw.githubusercontent.com"


@dataclass(frozen=True, slots=True)
class PublicTrace:
    """One file of a trace.

    name: what people call it; path: below the directory of traces; url: where it is published; size_bytes, sha256: of
    the bytes that are published there; pack: whether it is kept as a gzip file though it is published as text; terms;
    restricted: whether they must be accepted first; about: what it is.
    """

    name: str
    path: str
    url: str
    size_bytes: int
    sha256: str
    pack: bool
    terms: str
    restricted: bool
    about: str


def trace_named(name: str) -> PublicTrace:
    """Return a trace by its name.

    Raises:
        NotFound: there is none; the message names the nearest.
    """
    for trace in TRACES:
        if trace.name == name:
            return trace
    names = [trace.name for trace in TRACES]
    raise NotFound(f"no trace {name!r} is known; {hint(name, names)}: `farlane scheduler traces list`")


def _archive(
    name: str, folder: str, file: str, size: int, sha256: str, terms: str, about: str
) -> PublicTrace:
    url = f"https://www.cs.huji.ac.il/labs/parallel/workload/{folder}/{file}"
    return PublicTrace(name, f"swf/{file}", url, size, sha256, False, terms, terms == SDSC_TERMS, about)


def _github(
    name: str, kept: str, place: str, size: int, sha256: str, terms: str, about: str, *, pack: bool = True
) -> PublicTrace:
    restricted = terms in (STUDY_TERMS, NO_TERMS)
    return PublicTrace(name, kept, f"{_RAW}/{place}", size, sha256, pack, terms, restricted, about)


def _openb(list_name: str, commit: str, size: int, sha256: str, about: str) -> PublicTrace:
    file = f"openb_{list_name}.csv"
    place = f"alibaba/clusterdata/{commit}/cluster-trace-gpu-v2023/csv/{file}"
    name = "openb-" + list_name.removeprefix("pod_list_").replace("node_list_", "").replace("_", "-")
    return _github(name, f"openb/{file}.gz", place, size, sha256, STUDY_TERMS, about)


_OPENB = (
    "0c9677bb156ded9c63ca40d9aa54cd31d3e75061",
    "50a91c7c74abe3b658188dc78ac1dd302970d40c",
    "b937928cf81f0edb6fe33634d01f2069a8d6ab17",
)
"""Commits at which the lists stand."""

TRACES = (
    _archive(
        "sdsc-sp2", "l_sdsc_sp2", "SDSC-SP2-1998-4.2-cln.swf.gz", 1_205_570,
        "e03fe48be50c4ab04d6bb2285296d9c3399e9c1f27ee79b754ad32a14abd9bac", SDSC_TERMS,
        "a log of two years of 59,715 jobs on 128 processors",
    ),
    _archive(
        "hpc2n", "l_hpc2n", "HPC2N-2002-2.2-cln.swf.gz", 2_997_773,
        "3c534857d6065cfd9cc35aac8d064c9c17172be7acf336de835006f43a626e64", ARCHIVE_TERMS,
        "a log of three and a half years of 202,871 jobs on 240 processors",
    ),
    _github(
        "lublin-1", "swf/lublin_256.swf.gz",
        "DIR-LAB/deep-batch-scheduler/c649e852ab3cabbc5ac8e4f46b81b1dd66625831/data/lublin_256.swf", 649_089,
        "a394ab3d81179ebcf645a1cbd593a60b6dff7f11a510e1e6285c45f43310c962", NO_TERMS,
        "10,000 jobs of the Lublin-Feitelson model on 256 processors",
    ),
    _github(
        "lublin-2", "swf/lublin_256_new2.swf.gz",
        "DIR-LAB/deep-batch-scheduler/7616cc5c709122f25eef9f7cc286a5dab1d2e0f7/data/lublin_256_new2", 660_195,
        "bee7e959a6b85844eafe7989d62c55ae43e096fd617cddf37423327967a1ed2d", NO_TERMS,
        "10,000 more, of other parameters",
    ),
    _openb(
        "node_list_gpu_node", _OPENB[1], 42_353,
        "2beca64b4d3dfa342036a34b56a495c6cef9225db836c81f541282cb1df320b5", "1,213 nodes with 6,212 GPUs",
    ),
    _openb(
        "node_list_all_node", _OPENB[0], 52_287,
        "5a85c2af79c66a1efff8bbcbda430400aae56d8431370d738480967e1a9c6b15", "1,523 nodes, with those without GPU",
    ),
    _openb(
        "pod_list_default", _OPENB[1], 575_468,
        "1ee7ed79c27a3b0861cda8ddba86a004c6aba904caafa329a76ae93ca63834a8", "8,152 tasks as they were",
    ),
    _openb(
        "pod_list_cpu250", _OPENB[0], 663_708,
        "134c21ff96d57533df8a37b67632972884fec9396e77cd0898ddc370cc8e607d", "with 2.5 times as many without GPU",
    ),
    _openb(
        "pod_list_gpushare60", _OPENB[1], 566_361,
        "d31809628128a1f24491086eda4af3e23882b9213d3ef57a56ee2d1af69492fe", "60 % of the GPUs asked for in shares",
    ),
    _openb(
        "pod_list_gpuspec33", _OPENB[2], 587_467,
        "eca4f746db1e5b25864ad021b55ece3943e101a3ebd4574d09dcb95c46117652", "33 % name the models of GPUs that do",
    ),
    _openb(
        "pod_list_multigpu30", _OPENB[1], 277_920,
        "a5e479c6444b1d83eef848159cf00c3cfa13441b2d1e2c113c391b91f1cc5b11", "30 % more with several GPUs",
    ),
    _github(
        "philly", "other/philly_jobs.csv.gz",
        "DIR-LAB/lumos/cdbce3c5c03d93c415a248de031a3957d06ef10b/lumos-site/data/philly_df_schedule.csv", 3_942_288,
        "fb6bcdb4a1680e0ca574fffc8b266ddf8d05e7606613e87088540f8115d0119d", PHILLY_TERMS,
        "151,816 jobs of deep learning with their GPUs, Microsoft 2017",
    ),
    _github(
        "genai", "other/alibaba_genai_lora_requests.csv.gz",
        "alibaba/clusterdata/7a6c496e4f4b6ce6150be8f881cb051bf2abff42/cluster-trace-v2026-GenAI/lora_request_trace.csv",
        2_012_418, "263fb88f1095f62d360cf89ded8cfc24fa2c5d111c1b16e7aaa9ccbfc4b37d78", STUDY_TERMS,
        "26,823 requests for images with the checkpoint each needs, 2024",
    ),
    _github(
        "spot-nodes", "other/alibaba_spot_nodes.csv.gz",
        "alibaba/clusterdata/0d3dcd97c6e674634758c908c775e11b94c17575/cluster-trace-v2026-spot-gpu/node_info_df.csv",
        78_330, "1aba161961a5a4a1a61aa581383c5e5abe3400b59f8597ba8c4eef7597bc9d18", STUDY_TERMS,
        "4,278 nodes with six models of GPUs",
    ),
    _github(
        "gavel", "other/gavel_throughputs.json",
        "stanford-futuredata/gavel/master/scheduler/simulation_throughputs.json", 1_240_176,
        "17111f7295f03265fd9e5118d7eba31e3dd9d6e50a2e215c13ad3d3f91f74381", GAVEL_TERMS,
        "steps a second of 83 kinds of training on three models of GPUs", pack=False,
    ),
)  # fmt: skip
"""Every trace that is known, in the order in which it is listed."""
