"""The process as its operator sees it: TLS, the drain, TGIS's name for it and
its flags (points 21 and 22, sections 15 and 16)."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

import grpc

# target makes the modules of the folder above known.
from target import (BIN, LONG_ANSWERS, MODEL, STORY, Client, Server,
                    await_that, exactly, needs_own_server, pb)
from hosts import make_certificates
from logged_process import LoggedProcess


@needs_own_server
class TlsTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="drover_test_")
        make_certificates(cls.folder.name, ["127.0.0.1", "client"])

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def read(self, name):
        return pathlib.Path(self.path(name)).read_bytes()

    def own_flags(self):
        return ["--tls-cert-path", self.path("127.0.0.1.crt"),
                "--tls-key-path", self.path("127.0.0.1.key")]

    def answers(self, server, credentials):
        with contextlib.closing(
                Client(server.grpc_address, None, credentials)) as client:
            try:
                (answer,) = client.generate(STORY, stopping=exactly(1))
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
                return False
        return answer.generated_token_count == 1

    def credentials(self, client=None):
        own = [self.read(f"{client}.key"), self.read(f"{client}.crt")
              ] if client else []
        return grpc.ssl_channel_credentials(self.read("ca.crt"), *own)

    def test_21_tls(self):
        with Server(*self.own_flags(), model=MODEL) as server:
            self.assertTrue(self.answers(server, self.credentials()))
            self.assertFalse(self.answers(server, None))
            self.assertEqual(server.http("/health")[0], 200)

    def test_21_clients_must_show_a_certificate_if_there_is_an_authority(self):
        with Server(*self.own_flags(), "--tls-client-ca-cert-path",
                    self.path("ca.crt"), model=MODEL) as server:
            self.assertTrue(self.answers(server, self.credentials("client")))
            self.assertFalse(self.answers(server, self.credentials()))
            self.assertFalse(self.answers(server, None))
            # HTTP is plaintext and asks nobody.
            self.assertEqual(server.http("/health")[0], 200)

    def test_21_what_is_half_or_unreadable_is_refused_at_start(self):
        own = self.own_flags()
        for flags in (own[:2], own[2:],
                      ["--tls-client-ca-cert-path", self.path("ca.crt")],
                      [*own[:3], self.path("none.key")],
                      [*own[:3], self.path("ca.crt")]):
            ended = subprocess.run(
                [str(BIN / "drover"), "serve", "--model", str(MODEL),
                 "--grpc-port", "0", "--port", "0", *flags],
                capture_output=True, text=True, timeout=60)
            self.assertNotEqual(ended.returncode, 0, flags)
            self.assertIn("tls", ended.stdout + ended.stderr)


@needs_own_server
class DrainTest(unittest.TestCase):

    def test_22_sigterm_when_idle_exits_zero_within_eight_seconds(self):
        with Server(model=MODEL) as server:
            begin = time.monotonic()
            self.assertEqual(server.stop(), 0)
            self.assertLess(time.monotonic() - begin, 8)

    def test_22_sigterm_when_busy_lets_what_runs_and_waits_finish(self):
        with Server("--max-batch-size", "1", model=MODEL) as server:
            length = min(300, server.model_info().max_new_tokens)
            streams = [server.stream(STORY, stopping=exactly(length))
                       for _ in range(2)]
            for stream in streams:  # the second one waits for its turn
                next(stream)
            server.process.send_signal(signal.SIGTERM)
            for stream in streams:
                last = list(stream)[-1]
                self.assertEqual(last.generated_token_count, length)
                self.assertEqual(last.stop_reason, pb.MAX_TOKENS)
            self.assertEqual(server.process.wait(timeout=60), 0)

    def test_22_a_drain_refuses_new_calls_and_still_tells_of_the_server(self):
        with Server(*LONG_ANSWERS, model=MODEL) as server:
            length = server.model_info().max_new_tokens
            running = server.stream(STORY, stopping=exactly(length))
            next(running)
            server.process.send_signal(signal.SIGTERM)
            await_that(lambda: server.http("/health/ready")[0] == 503,
                       "the drain has begun")
            for call in (lambda: server.generate(STORY),
                         lambda: next(server.stream(STORY)),
                         lambda: server.generate(
                             STORY, stopping={"max_new_tokens": 2**31})):
                with self.assertRaises(grpc.RpcError) as raised:
                    call()
                self.assertEqual((raised.exception.code(),
                                  raised.exception.details()),
                                 (grpc.StatusCode.UNAVAILABLE,
                                  "the server is shutting down"))
            self.assertEqual(server.model_info().max_new_tokens, length)
            self.assertEqual(server.http("/health")[0], 503)
            self.assertEqual(server.http("/health/live")[0], 200)
            running.cancel()
            self.assertEqual(server.process.wait(timeout=60), 0)


@needs_own_server
class LauncherTest(unittest.TestCase):
    """TGIS's program by its name, with its flags and environment."""

    @contextlib.contextmanager
    def launched(self, flags, environment):
        """A client of it and its log."""
        with LoggedProcess(
            ["env", *(f"{name}={value}"
                      for name, value in environment.items()),
             str(BIN / "text-generation-launcher"), *flags]) as process:
            address = process.await_line(r"[ \"]grpc[=\":]+([^ \",]+)")
            port = address.rsplit(":", 1)[1]
            client = Client(f"127.0.0.1:{port}")
            with contextlib.closing(client):
                yield client, process

    def test_it_starts_as_caikit_starts_tgis(self):
        with self.launched(
            ["--num-shard", "1", "--model-name", str(MODEL), "--port", "0"],
            {"GRPC_PORT": "0", "KV_CACHE_BYTES": "64MiB"}) as (client, _):
            (answer,) = client.generate(STORY, stopping=exactly(2))
            self.assertEqual(answer.generated_token_count, 2)

    def test_it_takes_tgis_flags_and_environment_and_the_flag_wins(self):
        ignored = ["--deployment-framework", "hf_transformers",
                   "--max-waiting-tokens", "24", "--batch-safety-margin", "20",
                   "--max-prefill-padding", "0.2", "--master-port", "29500",
                   "--master-addr", "localhost", "--shard-uds-path", "/tmp/x",
                   "--otlp-service-name", "x"]
        own = ["--dtype-str", "float32", "--max-sequence-length", "80",
               "--max-new-tokens", "9", "--max-batch-size", "12", "-p", "0",
               "-g", "0", "-c", "0.5", "--json-output",
               "--output-special-tokens", "--default-include-stop-seqs",
               "false"]
        with self.launched([*own, *ignored], {
                "MODEL_NAME": MODEL, "MAX_NEW_TOKENS": "7",
                "GRPC_PORT": "1", "NUM_GPUS": "1", "KV_CACHE_BYTES": "64MiB",
                "MAX_CONCURRENT_REQUESTS": "2", "LOG_LEVEL": "info",
        }) as (client, process):
            info = client.model_info()
            self.assertEqual((info.max_sequence_length, info.max_new_tokens),
                             (80, 9))
            with self.assertRaises(grpc.RpcError) as raised:
                client.generate("a", "b", "c")
            self.assertEqual(raised.exception.code(),
                             grpc.StatusCode.RESOURCE_EXHAUSTED)
            client.stub.Generate(
                pb.BatchedGenerationRequest(requests=[
                    pb.GenerationRequest(text=STORY)]),
                metadata=[("x-correlation-id", "from-the-client")])
            process.await_line("from-the-client")
            log = process.log()
            for line in log.splitlines():
                json.loads(line)
            for flag in ignored[::2]:
                self.assertIn(flag, log)

    def test_it_takes_options_of_servers_of_other_names(self):
        ignored = ["--max-input-length", "--max-batch-prefill-tokens",
                   "--max-model-len", "--gpu-memory-utilization",
                   "--speculator-top-k-tokens-per-head"]
        flags = [word for flag in ignored for word in (flag, "1")]
        with self.launched(
            ["--model-id", str(MODEL), "-p", "0", "--grpc-port", "0",
             "--json-output", "true", *flags],
            {"KV_CACHE_BYTES": "64MiB", "FLASH_ATTENTION": "true",
             "LOG_LEVEL": "INFO"}) as (client, process):
            client.generate(STORY, stopping=exactly(1))
            for name in (*ignored, "FLASH_ATTENTION"):
                self.assertIn(name, process.log())

    def test_a_model_of_the_local_hub_cache_goes_by_its_id(self):
        with tempfile.TemporaryDirectory(prefix="drover_test_") as folder:
            model = pathlib.Path(folder) / "models--org--fables"
            (model / "refs").mkdir(parents=True)
            (model / "refs" / "main").write_text("0123abcd")
            (model / "snapshots").mkdir()
            (model / "snapshots" / "0123abcd").symlink_to(
                pathlib.Path(MODEL).resolve())
            environment = {"HF_HUB_CACHE": folder, "KV_CACHE_BYTES": "64MiB"}
            with self.launched(
                ["--model-name", "org/fables", "-p", "0", "-g", "0"],
                environment) as (client, _):
                client.generate(STORY, stopping=exactly(1))
            for name, status in (("org/fables", 0), ("org/other", 1)):
                ended = subprocess.run(
                    [str(BIN / "drover"), "download-weights", name],
                    env={**os.environ, **environment}, timeout=60,
                    capture_output=True)
                self.assertEqual(ended.returncode, status, ended.stderr)

    def test_mistakes_end_the_start(self):
        for flags in (["--dtype", "float32", "--dtype-str", "bfloat16"],
                      ["--num-shard", "1", "--num-gpus", "2"],
                      ["-c", "1.5"], ["-c", "0"], ["--max-new-tokens", "0"],
                      ["--max-sequence-length", "1"],
                      ["--max-concurrent-requests", "0"]):
            with self.subTest(flags):
                ended = subprocess.run(
                    [str(BIN / "drover"), "serve", "--model", str(MODEL),
                     "--grpc-port", "0", "--port", "0", *flags],
                    capture_output=True, text=True, timeout=60)
                self.assertEqual(ended.returncode, 2, ended.stderr)


if __name__ == "__main__":
    unittest.main()
