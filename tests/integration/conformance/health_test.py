"""/health, whatever the server does (point 24)."""

import contextlib
import json
import os
import pathlib
import re
import tempfile
import unittest

# target makes the modules of the folder above known.
from target import (BIN, LONG_STORY, MODEL, Client, ConformanceTest, batch,
                    exactly, needs_http, needs_own_server)
from logged_process import LoggedProcess


@needs_http
class HealthTest(ConformanceTest):

    def test_24_ready(self):
        for path in ("/health", "/health/live", "/health/ready"):
            self.assertEqual(self.server.http(path)[0], 200, path)
        self.assertEqual(self.server.http("/health")[1], "")
        self.assertEqual(self.server.http("/nothing")[0], 404)

    def test_24_healthy_during_long_prefills(self):
        length = self.info.max_sequence_length - 1
        text = LONG_STORY * (length // 400 + 1)
        call = self.server.stub.Generate.future(batch(
            *[text] * 4, truncate_input_tokens=length, stopping=exactly(1)))
        num_asked = 0
        while not call.done():
            for path in ("/health", "/health/live", "/health/ready"):
                self.assertEqual(self.server.http(path)[0], 200, path)
                num_asked += 1
        self.assertEqual(len(call.result().responses), 4)
        self.assertGreater(num_asked, 3)


# Loads once somebody writes to the FIFO.
WRAPPER = """#!/bin/sh
echo >{started}
read line <{may_load}
exec {shard} "$@"
"""


def listening_ports(pid):
    """TCP ports on which a process listens."""
    sockets = set()
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            sockets.update(re.findall(r"socket:\[(\d+)\]",
                                      os.readlink(entry)))
    listening = "0A"
    rows = [line.split() for line in pathlib.Path(
        f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].split(":")[1], 16) for row in rows
            if row[3] == listening and row[9] in sockets]


@needs_own_server
class LoadingTest(unittest.TestCase):

    def test_24_not_healthy_while_loading(self):
        with tempfile.TemporaryDirectory(prefix="drover_test_") as folder:
            path = pathlib.Path(folder)
            for name in ("started", "may_load"):
                os.mkfifo(path / name)
            wrapper = path / "shard"
            wrapper.write_text(WRAPPER.format(
                started=path / "started", may_load=path / "may_load",
                shard=BIN / "drover-shard"))
            wrapper.chmod(0o700)
            with LoggedProcess([
                str(BIN / "drover"), "serve", "--model", str(MODEL), "--host",
                "127.0.0.1", "--grpc-port", "0", "--port", "0",
                "--kv-cache-bytes", "64MiB", "--shard-binary", str(wrapper)
            ]) as process:
                (path / "started").read_text()
                (port,) = listening_ports(process.pid)  # HTTP's alone
                http = Client("127.0.0.1:1", f"127.0.0.1:{port}").http
                for name in ("/health", "/health/ready"):
                    self.assertEqual(http(name)[0], 503, name)
                self.assertEqual(json.loads(http("/health")[1]),
                                 {"error": "unhealthy"})
                self.assertEqual(http("/health/live")[0], 200)
                (path / "may_load").write_text("\n")
                process.await_line(r" ready .* grpc=(\S+)")
                for name in ("/health", "/health/ready", "/health/live"):
                    self.assertEqual(http(name)[0], 200, name)


if __name__ == "__main__":
    unittest.main()
