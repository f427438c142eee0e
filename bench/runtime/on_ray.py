"""Ray's side: tasks or one actor per slot on this machine, through its public API; nothing of it is durable."""

from __future__ import annotations

import json
import os
import sys

import ray

from bench.runtime.measure import measure

PAYLOAD = b"x" * 1024
SLOTS = 2


@ray.remote(num_cpus=1)
def echo(value: bytes) -> bytes:
    return value


@ray.remote(num_cpus=1)
class Echo:
    def echo(self, value: bytes) -> bytes:
        return value


def main(kind: str, tasks: int, singles: int) -> None:
    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    actors = [Echo.remote() for _ in range(SLOTS)] if kind == "actors" else []

    def call(number: int) -> object:
        return actors[number % SLOTS].echo.remote(PAYLOAD) if actors else echo.remote(PAYLOAD)

    def batch(count: int) -> int:
        return sum(1 for value in ray.get([call(number) for number in range(count)]) if value == PAYLOAD)

    name = "Ray actors" if actors else "Ray tasks"
    figures = measure(name, lambda: [os.getpid()], batch, lambda: ray.get(call(0)), tasks, singles)
    print(json.dumps(figures.as_dict()))
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
