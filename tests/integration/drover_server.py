"""A real `drover serve` on free ports, and a client for it."""

import atexit
import importlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import grpc

BIN = pathlib.Path(os.environ["DROVER_BIN"])
SOURCE = pathlib.Path(os.environ["DROVER_SOURCE"])
MODEL = SOURCE / "models" / "fables-7m"


def _generate_stubs():
    folder = tempfile.mkdtemp(prefix="drover_stubs_")
    atexit.register(shutil.rmtree, folder)
    plugin = shutil.which("grpc_python_plugin")
    subprocess.run([
        "protoc", f"--proto_path={SOURCE / 'proto'}", f"--python_out={folder}",
        f"--grpc_out={folder}", f"--plugin=protoc-gen-grpc={plugin}",
        "generation.proto"
    ], check=True)
    sys.path.insert(0, folder)
    return (importlib.import_module("generation_pb2"),
            importlib.import_module("generation_pb2_grpc"))


pb, pb_grpc = _generate_stubs()


class Server:
    """Started and ready when constructed. Use as a context manager."""

    def __init__(self, *flags, model=MODEL, env=None, program="drover",
                 cache="256MiB"):
        self._folder = tempfile.TemporaryDirectory(prefix="drover_test_")
        self.log_path = pathlib.Path(self._folder.name) / "log"
        ready = pathlib.Path(self._folder.name) / "ready"
        os.mkfifo(ready)
        command = [
            str(BIN / program), "serve", "--model", str(model), "--host",
            "127.0.0.1", "--grpc-port", "0", "--port", "0", "--ready-file",
            str(ready), "--kv-cache-bytes", cache, "--termination-log",
            self._folder.name + "/termination", *flags
        ]
        self._log = open(self.log_path, "wb")
        self.process = subprocess.Popen(command,
                                        stdout=self._log,
                                        stderr=subprocess.STDOUT,
                                        env={
                                            **os.environ,
                                            **(env or {})
                                        })
        self.ports = json.loads(self._read_ready(ready))
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.ports['grpc_port']}")
        self.stub = pb_grpc.GenerationServiceStub(self.channel)

    def _read_ready(self, ready):
        """Blocks on the FIFO until the server writes it, or dies."""
        reader = subprocess.Popen(["cat", str(ready)], stdout=subprocess.PIPE)
        pids = {reader.pid, self.process.pid}
        pid, _ = os.wait()
        while pid not in pids:
            pid, _ = os.wait()
        if pid != reader.pid:
            reader.kill()
            raise RuntimeError("drover serve ended: " + self.log())
        return reader.stdout.read()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def http(self, path):
        """(status, body) of a GET."""
        url = f"http://127.0.0.1:{self.ports['http_port']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()
        self._folder.cleanup()

    # ---- Calls ----

    def generate(self, *texts, **params):
        request = pb.BatchedGenerationRequest(
            requests=[pb.GenerationRequest(text=text) for text in texts],
            params=parameters(**params))
        return self.stub.Generate(request, timeout=120).responses

    def stream(self, text, timeout=120, **params):
        request = pb.SingleGenerationRequest(
            request=pb.GenerationRequest(text=text),
            params=parameters(**params))
        return self.stub.GenerateStream(request, timeout=timeout)

    def shard_pids(self):
        children = pathlib.Path(
            f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def shard_pid(self):
        return self.shard_pids()[0]


def parameters(**groups):
    """parameters(stopping={...}, sampling={...}, method="SAMPLE", ...)"""
    from google.protobuf import json_format
    return json_format.ParseDict(groups, pb.Parameters())
