"""Start, health, metrics, overload, death and drain of the real processes."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
import unittest

import grpc

from drover_server import BIN, MODEL, Server


def run(*args, **kwargs):
    return subprocess.run([str(BIN / "drover"), *args],
                          capture_output=True,
                          text=True,
                          timeout=60,
                          **kwargs)


def is_running(pid):
    try:
        stat = open(f"/proc/{pid}/stat").read()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def metric(text, name):
    """The value of a series without labels in what /metrics gave."""
    return float(re.search(rf"^{name} (\S+)$", text, re.M).group(1))


def await_end(test, pid):
    deadline = time.monotonic() + 30
    while is_running(pid):
        test.assertLess(time.monotonic(), deadline,
                        "the shard outlived its router")


def running_stream(server):
    """A stream of a thousand tokens, of which some have come."""
    stream = server.stream("Once upon a time",
                           stopping={
                               "max_new_tokens": 1000,
                               "min_new_tokens": 1000
                           })
    next(stream)
    next(stream)
    return stream


class LifecycleTest(unittest.TestCase):

    def test_grpc_health_and_reflection_answer(self):
        """In bytes, since Debian has no stubs of these services."""
        serving = b"\x08\x01"
        with Server() as server:
            check = server.channel.unary_unary("/grpc.health.v1.Health/Check")
            self.assertEqual(check(b""), serving)
            self.assertEqual(check(b"\x0a\x17fmaas.GenerationService"), serving)
            watch = server.channel.unary_stream("/grpc.health.v1.Health/Watch")
            changes = watch(b"")
            self.assertEqual(next(changes), serving)
            reflect = server.channel.stream_stream(
                "/grpc.reflection.v1alpha.ServerReflection/"
                "ServerReflectionInfo")
            (answer,) = reflect(iter([b"\x1a\x10generation.proto"]))
            self.assertIn(b"BatchedGenerationRequest", answer)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(next(changes), b"\x08\x02")  # NOT_SERVING
            self.assertEqual(server.process.wait(timeout=60), 0)

    def test_no_prompt_text_is_logged(self):
        with Server("--log-format", "json") as server:
            server.generate("A confidential dragon",
                            stopping={"max_new_tokens": 3})
            self.assertEqual(server.stop(), 0)
            self.assertNotIn("dragon", server.log())
            self.assertIn("MAX_TOKENS", server.log())

    def test_what_a_client_sends_cannot_break_a_json_log(self):
        with Server("--log-format", "json") as server:
            call = server.channel.unary_unary(
                "/fmaas.GenerationService/Generate")
            for sent in (b"\x1a\x09\x12\x07dragon\xff", b"\xff\xff\xff"):
                with self.assertRaises(grpc.RpcError):
                    call(sent)
            server.generate("Once",
                            stopping={"max_new_tokens": 1})
            self.assertEqual(server.stop(), 0)
            messages = [
                json.loads(line)["message"]
                for line in server.log().splitlines()
            ]
            self.assertIn("ready", messages)
            self.assertIn("request finished", messages)
            self.assertEqual(messages.count("request not parsed"), 2)
            self.assertNotIn("dragon", server.log())

    def test_who_is_preempted_says_what_they_would_have_said(self):
        """In float32, where rows of another batch differ in the last bits."""
        prompts = [f"The {animal} said to the {other}:"
                   for animal in ("fox", "wolf", "king", "child")
                   for other in ("crow", "lamb", "queen", "mother")]
        flags = ("--dtype", "float32", "--max-sequence-length", "256")
        stopping = {"max_new_tokens": 100}
        with Server(*flags) as server:
            alone = [server.generate(prompt, stopping=stopping)[0].text
                     for prompt in prompts]
        # 512 tokens for 16 sequences of about 110.
        with Server(*flags, cache="4MiB") as server:
            crowded = server.generate(*prompts, stopping=stopping)
            self.assertGreater(
                metric(server.http("/metrics")[1], "tgi_preemption_count"), 0)
        self.assertEqual([answer.text for answer in crowded], alone)

    def test_a_dead_shard_ends_streams_with_unavailable(self):
        with Server() as server:
            stream = running_stream(server)
            os.kill(server.shard_pid(), signal.SIGKILL)
            with self.assertRaises(grpc.RpcError) as raised:
                list(stream)
            self.assertEqual(raised.exception.code(),
                             grpc.StatusCode.UNAVAILABLE)
            self.assertRegex(raised.exception.details(),
                             "^Could not connect to Text Generation server: ")
            self.assertNotEqual(server.process.wait(timeout=60), 0)
            self.assertIn("killed by signal 9", server.log())

    def test_two_shards_say_what_one_says_and_go_together(self):
        texts = []
        for shards in ("1", "2"):
            with Server("--num-shard", shards, "--dtype", "float32") as server:
                reply = server.generate("Once upon a time",
                                        stopping={"max_new_tokens": 20})
                texts.append(reply[0].text)
        self.assertEqual(texts[0], texts[1])
        with Server("--num-shard", "2") as server:
            pids = server.shard_pids()
            self.assertEqual(len(pids), 2)
            os.kill(pids[1], signal.SIGKILL)
            self.assertNotEqual(server.process.wait(timeout=60), 0)
            self.assertIn("the shard of rank 1 was killed by signal 9",
                          server.log())
        for pid in pids:
            await_end(self, pid)

    def test_each_rank_says_in_one_line_where_it_runs_and_what_it_read(self):
        cpus = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, cpus)
        cpu = min(cpus)
        os.sched_setaffinity(0, {cpu})
        with Server("--num-shard", "2", "--device", "cpu") as server:
            server.stop()
            log = server.log()
        read_bytes = 0
        for rank in (0, 1):
            lines = re.findall(
                rf"loaded .* rank={rank} world_size=2 device=\"CPU\" "
                rf"cpus={cpu} .* read_bytes=(\d+) kv_blocks=\d+ "
                rf"kv_mib=128 seconds=", log)
            self.assertEqual(len(lines), 1, log)
            read_bytes += int(lines[0])
        self.assertEqual(len(re.findall(" loaded ", log)), 2, log)
        self.assertIn(" num_shard=2 ", log)
        # What the file has, and 17 norms of 256 for the second rank too.
        self.assertEqual(read_bytes, 13_902_336 + 17 * 256 * 2)

    def test_a_shard_that_hangs_in_a_step_ends_the_streams(self):
        with Server("--num-shard", "2", "--shard-patience-seconds",
                    "1") as server:
            stream = running_stream(server)
            pids = server.shard_pids()
            os.kill(pids[0], signal.SIGSTOP)
            with self.assertRaises(grpc.RpcError) as raised:
                list(stream)
            self.assertEqual(raised.exception.code(),
                             grpc.StatusCode.UNAVAILABLE)
            self.assertNotEqual(server.process.wait(timeout=60), 0)
            self.assertIn("has waited 1s for other ranks", server.log())
        for pid in pids:
            await_end(self, pid)

    def test_the_shard_goes_when_the_router_is_killed(self):
        with Server() as server:
            shard = server.shard_pid()
            server.stop(signal.SIGKILL)
            await_end(self, shard)

    def test_ctrl_c_while_loading_leaves_nothing_behind(self):
        with tempfile.TemporaryDirectory() as folder:
            fifo = os.path.join(folder, "fifo")
            os.mkfifo(fifo)
            shard = os.path.join(folder, "shard")
            with open(shard, "w") as script:
                script.write(f"#!/bin/sh\necho $$ >{fifo}\nexec sleep 1000\n")
            os.chmod(shard, 0o700)
            server = subprocess.Popen([
                str(BIN / "drover"), "serve", "--model", str(MODEL), "--host",
                "127.0.0.1", "--grpc-port", "0", "--port", "0",
                "--shard-binary", shard
            ], stderr=subprocess.DEVNULL)
            pid = int(open(fifo).read())
            server.send_signal(signal.SIGINT)
            self.assertEqual(server.wait(timeout=60), 0)
            await_end(self, pid)

    def test_ctrl_c_ends_the_clients_and_the_idle_server(self):
        with Server() as server:
            address = f"127.0.0.1:{server.ports['grpc_port']}"
            for arguments in (["generate", "--max-new-tokens", "1000",
                               "--min-new-tokens", "1000", "Once"],
                              ["bench", "latency", "--num-requests", "100000"]):
                with self.subTest(arguments[0]):
                    client = subprocess.Popen(
                        [str(BIN / "drover"), *arguments, "--address", address],
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                    client.stdout.read(8)  # it has begun
                    client.send_signal(signal.SIGINT)
                    client.communicate(timeout=60)
                    self.assertEqual(client.returncode, 130)
            self.assertEqual(server.stop(signal.SIGINT), 0)

    def test_start_up_faults_are_one_line_and_a_status(self):
        with Server() as server:
            taken = str(server.ports["grpc_port"])
            rows = [
                (["--model", "/no/such/model"], "/no/such/model"),
                (["--model", str(MODEL), "--grpc-port", taken, "--host",
                  "127.0.0.1"], taken),
                (["--model", str(MODEL), "--grpc-port", "0",
                  "--shard-binary", "/no/such/shard"], "/no/such/shard"),
                (["--model", str(MODEL), "--grpc-port", "0",
                  "--shard-binary", "/"], "cannot execute /: Permission"),
                (["--model", str(MODEL), "--grpc-port", "0",
                  "--shard-binary", "/bin/true"], "exited with status 0"),
                (["--model", str(MODEL), "--grpc-port", "0",
                  "--kv-cache-bytes", "1"], "kv"),
                (["--model", str(MODEL), "--dtype", "int3"], "int3"),
                (["--modle", str(MODEL)], "--modle"),
            ]
            for flags, word in rows:
                with self.subTest(word):
                    ended = run("serve", "--port", "0", "--log-level", "error",
                                *flags)
                    self.assertNotEqual(ended.returncode, 0)
                    said = (ended.stdout + ended.stderr).strip()
                    self.assertIn(word, said)
                    self.assertEqual(len(said.splitlines()), 1, said)

    def test_a_model_that_does_not_fit_is_a_status_of_its_own(self):
        ended = run("serve", "--model", str(MODEL), "--grpc-port", "0",
                    "--port", "0", "--kv-cache-bytes", "1")
        self.assertEqual(ended.returncode, 3)

    def test_the_latency_table_starts_servers_and_says_what_does_not_fit(self):
        ended = run("bench", "latency", "--table",
                    "--serve-options=--device=cpu --kv-cache-bytes=1")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        rows = [line.split("does not fit:")
                for line in ended.stdout.splitlines() if "llama" in line]
        self.assertEqual(["llama-2-7b", "llama-2-13b", "llama-2-70b"],
                         [row[0].strip() for row in rows])
        for row in rows:
            self.assertIn("got 1", row[1])

    def test_what_a_client_got_wrong_is_one_line_and_a_status(self):
        with Server() as server:
            address = f"127.0.0.1:{server.ports['grpc_port']}"
            rows = [
                (["generate", b"\xff"], "the text is not UTF-8"),
                (["tokenize", b"\xff"], "the text is not UTF-8"),
                (["generate", "--seed", "-1", "Once"], "--seed"),
                (["generate", "--max-new-tokens", "1025", "Once"],
                 "max_new_tokens must be <= 1024"),
                (["bench", "latency", "--output-len", "1025"],
                 "the server's limit is 1024"),
            ]
            for arguments, text in rows:
                with self.subTest(text):
                    ended = run(*arguments, "--address", address)
                    self.assertNotEqual(ended.returncode, 0)
                    self.assertEqual(ended.stdout, "")
                    self.assertIn(text, ended.stderr)
                    self.assertEqual(len(ended.stderr.splitlines()), 1)

    def test_bench_agrees_with_the_servers_own_counts(self):
        with Server() as server, tempfile.TemporaryDirectory() as folder:
            report = os.path.join(folder, "report.json")
            ended = run("bench", "throughput", "--address",
                        f"127.0.0.1:{server.ports['grpc_port']}", "--warmup",
                        "0", "--num-requests", "12", "--streams", "4",
                        "--input-len", "1:40", "--output-len", "1:20",
                        "--goodput", "e2e:1h", "--json", report)
            self.assertEqual(ended.returncode, 0, ended.stderr)
            with open(report) as file:
                said = json.load(file)
            metrics = server.http("/metrics")[1]

            def value(name):
                return metric(metrics, name)

            self.assertEqual(said["completed"], 12)
            self.assertEqual(said["good_requests"], 12)
            self.assertEqual(said["merged_messages"], 0)
            self.assertEqual(said["input_tokens"],
                             value("tgi_request_input_length_sum"))
            self.assertEqual(said["output_tokens"],
                             value("tgi_request_generated_tokens_sum"))
            self.assertEqual(said["ttft_ms"]["count"],
                             value("tgi_time_to_first_token_duration_count"))
            self.assertEqual(said["itl_ms"]["count"],
                             value("tgi_inter_token_duration_count"))
            self.assertIn(f"{said['output_tokens']} tokens", ended.stdout)

    def test_the_client_streams_a_story(self):
        with Server() as server:
            address = f"127.0.0.1:{server.ports['grpc_port']}"
            (answer,) = server.generate("Once upon a time",
                                        stopping={"max_new_tokens": 20})
            for arguments, text in ((["Once upon a time"], None),
                                    ([], "Once upon a time")):
                ended = run("generate", "--address", address,
                            "--max-new-tokens", "20", *arguments, input=text)
                self.assertEqual(ended.returncode, 0, ended.stderr)
                self.assertIn(answer.text, ended.stdout)
            tokens = run("tokenize", "--address", address, "The king")
            self.assertIn("▁The", tokens.stdout)
            info = run("info", "--address", address).stdout
            self.assertIn("2048", info)
            self.assertRegex(info, r"(?m)^device +\S")
            self.assertRegex(info, r"(?m)^KV cache +\d+ blocks of 16 tokens")


if __name__ == "__main__":
    unittest.main()
