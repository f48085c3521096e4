"""A model on two hosts: a router and a rank here, a rank there."""

import contextlib
import json
import signal
import subprocess
import tempfile
import unittest

from drover_server import BIN, MODEL
from hosts import Loopback, NetworkNamespaces, make_certificates
from logged_process import LoggedProcess

GOLDEN = json.loads((MODEL / "golden_generation.json").read_text())["cases"]


class Group:
    """A router on host 0 and rank R on host R, ready when constructed."""

    def __init__(self, hosts, patience="60", insecure=False, wait=True):
        self.hosts = hosts
        self._stack = contextlib.ExitStack()
        folder = self._stack.enter_context(
            tempfile.TemporaryDirectory(prefix="drover_hosts_"))
        router_host = hosts.addresses[0]
        self.certificates = make_certificates(folder, [router_host, "a-rank"])
        if insecure:
            self.certificates = dict.fromkeys(self.certificates,
                                              ["--rendezvous-insecure"])
        self.patience = patience
        self.router = self.start(
            0, "drover", "serve", "--model", MODEL, "--dtype", "float32",
            "--host", router_host, "--grpc-port", "0", "--port", "0",
            "--num-shard", "2", "--kv-cache-bytes", "256MiB", "--rendezvous",
            f"{router_host}:0", "--shard-patience-seconds", patience,
            "--termination-log", folder + "/termination",
            *self.certificates[router_host])
        port = self.router.await_line(r"rendezvous port=(\d+)")
        self.rendezvous = f"{router_host}:{port}"
        self.ranks = [self.start_rank(rank) for rank in (0, 1)]
        if wait:
            self.address = self.router.await_line(r"ready .* grpc=(\S+)")

    def start(self, host, program, *args):
        return self._stack.enter_context(
            LoggedProcess(self.hosts.command(
                host, [str(BIN / program), *map(str, args)])))

    def start_rank(self, rank, *args):
        return self.start(rank, "drover-shard", "--rank", rank, "--world-size",
                          2, "--model", MODEL, "--rendezvous", self.rendezvous,
                          "--group-patience-seconds", self.patience,
                          "--threads", 1, *self.certificates["a-rank"], *args)

    def generate(self, text, max_new_tokens):
        client = self.hosts.command(0, [
            str(BIN / "drover"), "generate", "--address", self.address,
            "--max-new-tokens", str(max_new_tokens), text
        ])
        return subprocess.run(client, capture_output=True, text=True,
                              timeout=120)

    def start_stream(self):
        """A client that has had the first of its thousand tokens."""
        client = subprocess.Popen(
            self.hosts.command(0, [
                str(BIN / "drover"), "generate", "--address", self.address,
                "--max-new-tokens", "1000", "--min-new-tokens", "1000", "Once"
            ]), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        client.stdout.read(1)
        return client

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self._stack.close()


class TwoHosts:
    """The tests, for whatever hosts() gives."""

    def setUp(self):
        self.hosts = self.make_hosts()
        self.addCleanup(self.hosts.close)

    def test_two_hosts_say_what_the_golden_one_says(self):
        with Group(self.hosts) as group:
            for case in GOLDEN:
                margins = case["greedy_margin"]
                num_tokens = next((i for i, margin in enumerate(margins)
                                   if margin < 1e-3), len(margins))
                answer = group.generate(case["text"], num_tokens)
                self.assertEqual(answer.returncode, 0, answer.stderr)
                said = answer.stdout.rstrip("\n")
                self.assertGreater(len(said), 0)
                self.assertTrue(case["greedy_text"].startswith(said), said)
            group.router.signal(signal.SIGTERM)
            self.assertEqual(group.router.wait(), 0)
            for rank in group.ranks:
                self.assertEqual(rank.wait(), 0, rank.log())

    def test_any_rank_that_is_lost_in_a_step_is_named_and_all_end(self):
        for lost in (0, 1):
            with self.subTest(rank=lost), Group(self.hosts) as group:
                with group.start_stream() as client:
                    group.ranks[lost].signal(signal.SIGKILL)
                    _, said = client.communicate(timeout=60)
                self.assertIn(b"not available", said)
                self.assertIn(f"rank {lost}".encode(), said)
                self.assertEqual(group.router.wait(), 1)
                self.assertIn(f"rank {lost}", group.router.log())
                self.assertNotEqual(group.ranks[1 - lost].wait(), 0)

    def test_a_rank_that_hangs_in_a_step_is_named_and_all_end(self):
        with Group(self.hosts, patience="2") as group:
            with group.start_stream() as client:
                group.ranks[1].signal(signal.SIGSTOP)
                _, said = client.communicate(timeout=60)
            self.assertIn(b"not available", said)
            self.assertEqual(group.router.wait(), 1)
            self.assertIn("rank 1", group.router.log())
            self.assertNotEqual(group.ranks[0].wait(), 0)
            group.ranks[1].signal(signal.SIGCONT)
            self.assertNotEqual(group.ranks[1].wait(), 0)

    def test_ranks_end_when_the_router_is_killed(self):
        with Group(self.hosts) as group:
            group.router.signal(signal.SIGKILL)
            for rank in group.ranks:
                self.assertEqual(rank.wait(), 1, rank.log())

    def test_sigterm_lets_a_stream_finish_though_the_ranks_get_it_too(self):
        with Group(self.hosts) as group:
            with group.start_stream() as client:
                for process in (*group.ranks, group.router):
                    process.signal(signal.SIGTERM)
                _, said = client.communicate(timeout=60)
            self.assertIn(b"1000 out", said)
            for process in (group.router, *group.ranks):
                self.assertEqual(process.wait(), 0, process.log())


class LoopbackTest(TwoHosts, unittest.TestCase):

    def make_hosts(self):
        return Loopback()

    def test_without_tls_only_where_both_say_so(self):
        with Group(self.hosts, insecure=True) as group:
            self.assertEqual(group.generate("Once", 3).returncode, 0)
            self.assertIn("tls=none", group.router.log())
        for program, flags in (("drover", ["serve", "--num-shard", "2"]),
                               ("drover-shard", [])):
            ended = subprocess.run(
                [str(BIN / program), *flags, "--model", str(MODEL),
                 "--rendezvous", "127.0.0.1:0"], capture_output=True, text=True,
                timeout=60)
            self.assertNotEqual(ended.returncode, 0)
            self.assertIn("--rendezvous-tls-cert-path is missing",
                          ended.stdout + ended.stderr)

    def test_a_rank_takes_no_hub_id_and_says_where_to_ask(self):
        ended = subprocess.run(
            [str(BIN / "drover-shard"), "--model", "org/fables",
             "--rendezvous", "127.0.0.1:1", "--rendezvous-insecure"],
            capture_output=True, text=True, timeout=60)
        self.assertEqual(ended.returncode, 1)
        self.assertIn(
            "--model org/fables: no such folder; a shard takes no hub id: "
            "`drover download-weights org/fables` says which folder of "
            "Hugging Face's cache has it\n", ended.stderr)

    def test_a_rank_that_does_not_fit_is_told_so(self):
        with Group(self.hosts) as group:
            for flags, text in ((["--world-size", "3"], "2 shards"),
                                (["--load-format", "dummy"], "fingerprint"),
                                ([], "rank 1 is here already")):
                rank = group.start(1, "drover-shard", *self.with_flags(
                    group, flags))
                self.assertEqual(rank.wait(), 1)
                self.assertIn(text, rank.log())
            self.assertEqual(group.generate("Once", 3).returncode, 0)

    @staticmethod
    def with_flags(group, flags):
        given = {"--rank": "1", "--world-size": "2", "--model": str(MODEL),
                 "--rendezvous": group.rendezvous}
        given.update(zip(flags[::2], flags[1::2]))
        return [*(word for pair in given.items() for word in pair),
                *group.certificates["a-rank"]]


class NetworkNamespacesTest(TwoHosts, unittest.TestCase):

    def make_hosts(self):
        try:
            return NetworkNamespaces()
        except OSError as error:
            self.skipTest(f"no network namespaces can be made: {error}")

    def test_a_cable_that_is_cut_is_noticed_on_both_sides(self):
        with Group(self.hosts, patience="2") as group:
            self.hosts.cut()
            self.assertEqual(group.router.wait(), 1)
            self.assertIn("rank 1", group.router.log())
            for rank in group.ranks:
                self.assertEqual(rank.wait(), 1, rank.log())


if __name__ == "__main__":
    unittest.main()
