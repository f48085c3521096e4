"""A file system that does not answer, with the real programs: opening a file of
which another process has a write lease waits until that process gives it up."""

import errno
import fcntl
import os
import pathlib
import signal
import tempfile
import threading
import unittest

import grpc
from drover_server import Server, pb
from soft_prompts_test import Embeddings, metric

# Well below what the kernel takes a lease away after (45 s by default), well
# above the 5 s of a lookup.
PATIENCE = 30
TOO_LATE = ("can't retrieve prompt prefix with id 'hung': no answer from the "
            "prefix store within 5s")


class HungFile:
    """Whoever opens it waits. Of the main thread, which is told."""

    def __init__(self, path):
        path.write_bytes(b"never read")
        self._asked = threading.Event()
        self._handler = signal.signal(signal.SIGIO,
                                      lambda *_: self._asked.set())
        self._file = os.open(path, os.O_RDWR)
        try:
            fcntl.fcntl(self._file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            self.close()
            if error.errno not in (errno.EINVAL, errno.EACCES):
                raise
            raise unittest.SkipTest("no leases on this file system")

    def await_asked(self):
        assert self._asked.wait(timeout=PATIENCE), "nobody opened it"

    def close(self):
        os.close(self._file)
        signal.signal(signal.SIGIO, self._handler)


class HungPrefixTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="drover_test_")
        self.addCleanup(folder.cleanup)
        self.prompts = pathlib.Path(folder.name)
        Embeddings().write(self.prompts / "tuned.safetensors", [7, 8, 9])
        self.file = HungFile(self.prompts / "hung.safetensors")
        self.addCleanup(self.file.close)

    def start(self, *flags):
        server = Server("--dtype", "float32", "--prefix-store-path",
                        str(self.prompts), *flags)
        self.addCleanup(server.__exit__)
        return server

    def assert_ends(self, stream, code, details):
        with self.assertRaises(grpc.RpcError) as raised:
            list(stream)
        self.assertEqual(raised.exception.code(), code)
        self.assertEqual(raised.exception.details(), details)

    def test_the_limit_ends_those_who_wait_and_nobody_else_notices(self):
        server = self.start("--tokenization-workers", "1")
        hung = [server.stream("a", prefix_id="hung") for _ in range(12)]
        self.file.await_asked()
        counting = server.stub.Tokenize.future(pb.BatchedTokenizeRequest(
            requests=[pb.TokenizeRequest(text="a")], prefix_id="hung"))
        (plain,) = server.generate("a fox")
        self.assertEqual(plain.generated_token_count, 20)
        (tuned,) = server.generate("a fox", prefix_id="tuned")
        self.assertEqual(tuned.generated_token_count, 20)
        (counted,) = server.tokenize("a fox")
        self.assertGreater(counted.token_count, 1)
        for stream in hung:
            self.assert_ends(stream, grpc.StatusCode.INVALID_ARGUMENT,
                             TOO_LATE)
        self.assertEqual(metric(server, "tgi_prompt_load_failure"), 12)
        self.assertEqual(counting.exception().details(), TOO_LATE)
        # Lookups that hung do not keep the process.
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.process.wait(timeout=PATIENCE), 0)

    def test_a_drain_ends_with_the_lookup(self):
        server = self.start()
        stream = server.stream("a", prefix_id="hung")
        self.file.await_asked()
        server.process.send_signal(signal.SIGTERM)
        self.assert_ends(stream, grpc.StatusCode.INVALID_ARGUMENT, TOO_LATE)
        self.assertEqual(server.process.wait(timeout=PATIENCE), 0)

    def test_a_drain_whose_time_is_over_ends_the_lookup(self):
        server = self.start("--max-drain-seconds", "0")
        stream = server.stream("a", prefix_id="hung")
        self.file.await_asked()
        server.process.send_signal(signal.SIGTERM)
        self.assert_ends(stream, grpc.StatusCode.UNAVAILABLE,
                         "the server is shutting down")
        self.assertEqual(server.process.wait(timeout=PATIENCE), 0)


if __name__ == "__main__":
    unittest.main()
