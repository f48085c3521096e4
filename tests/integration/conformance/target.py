"""What the suite asks: a server of ours, or the one at an address.

DROVER_CONFORMANCE_ADDRESS  HOST:PORT of any fmaas server's gRPC; tests that
                            need a server of their own are skipped
DROVER_CONFORMANCE_HTTP     HOST:PORT of its /health and /metrics
DROVER_CONFORMANCE_MODEL    folder of the model that servers of ours serve
"""

import atexit
import contextlib
import functools
import os
import pathlib
import re
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import grpc

import drover_server
from drover_server import BIN, SOURCE, Client, Server, batch, pb

ADDRESS = os.environ.get("DROVER_CONFORMANCE_ADDRESS")
HTTP = os.environ.get("DROVER_CONFORMANCE_HTTP")
MODEL = os.environ.get("DROVER_CONFORMANCE_MODEL", str(drover_server.MODEL))

NEEDS_OWN_SERVER = "needs a server that it starts itself"

# By which a log-probability may move with the shape of a batch: in float32, as
# servers of ours have it here, or in what a given server may have.
MARGIN = 0.25 if ADDRESS else 1e-3

STORY = "Once upon a time"
# For servers whose tests need a request that does not end while they look.
LONG_ANSWERS = ("--max-new-tokens", "2000")
# More tokens than the context of any model a test fills.
LONG_STORY = "There was a small fox who met an old crow under a tree. " * 40


@functools.cache
def own_server(*flags, model=MODEL):
    """Started once for all tests of a program that want the same."""
    if model != MODEL:  # a test's own, with weights whatever MODEL has
        flags += ("--load-format", "safetensors")
    server = Server("--dtype", "float32", *flags, model=model)
    if shards := os.environ.get("NUM_SHARD"):  # not only said, but done
        assert len(server.shard_pids()) == int(shards)
    atexit.register(server.__exit__)
    return server


@functools.cache
def given_server():
    return Client(ADDRESS, HTTP)


def needs_http(test):
    return unittest.skipIf(
        ADDRESS and not HTTP, "needs DROVER_CONFORMANCE_HTTP")(test)


def needs_own_server(test):
    return unittest.skipIf(ADDRESS, NEEDS_OWN_SERVER)(test)


def await_that(holds, what):
    """Asks until it holds; for what no event tells of."""
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within a minute: {what}")


class ConformanceTest(unittest.TestCase):
    """The tests of a class share a server."""

    flags = ()  # with any, the class needs a server of its own
    maxDiff = None

    @classmethod
    def model(cls):
        return MODEL

    @classmethod
    def setUpClass(cls):
        if not ADDRESS:
            cls.server = own_server(*cls.flags, model=cls.model())
        elif cls.flags or cls.model() != MODEL:
            raise unittest.SkipTest(NEEDS_OWN_SERVER)
        else:
            cls.server = given_server()
        cls.info = cls.server.model_info()

    def one(self, text=STORY, **fields):
        (answer,) = self.server.generate(text, **fields)
        return answer

    def messages(self, text=STORY, **fields):
        return list(self.server.stream(text, **fields))

    def both(self, text=STORY, **fields):
        """(unary answer, messages of the stream) of one request."""
        return self.one(text, **fields), self.messages(text, **fields)

    def metrics(self):
        """{series, as the text has it: value}"""
        status, text = self.server.http("/metrics")
        self.assertEqual(status, 200)
        return {series: float(value) for series, value in
                re.findall(r"^([^#]\S*) (\S+)$", text, re.MULTILINE)}

    def await_metric(self, series, value):
        await_that(lambda: self.metrics()[series] == value,
                   f"{series} is {value}")

    @contextlib.contextmanager
    def running(self, **fields):
        """A stream that has begun to say as much as it may."""
        stream = self.server.stream(
            STORY, stopping=exactly(self.info.max_new_tokens), **fields)
        next(stream)
        next(stream)
        try:
            yield stream
        finally:
            stream.cancel()

    def assert_refused(self, call, details,
                       code=grpc.StatusCode.INVALID_ARGUMENT):
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        self.assertEqual((raised.exception.code(), raised.exception.details()),
                         (code, details))

    def assert_both_refused(self, details, text=STORY, **fields):
        for call in (self.one, self.messages):
            with self.subTest(details=details, call=call.__name__):
                self.assert_refused(lambda: call(text, **fields), details)


def reason(answer):
    return pb.StopReason.Name(answer.stop_reason)




def exactly(num_tokens):
    """Stopping criteria under which no model says more or less."""
    return {"max_new_tokens": num_tokens, "min_new_tokens": num_tokens}
