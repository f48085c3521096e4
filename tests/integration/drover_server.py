"""A real `drover serve` on free ports, and a client for it."""

import atexit
import importlib
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import grpc
from google.protobuf import json_format

SOURCE = pathlib.Path(os.environ.get(
    "DROVER_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
BIN = pathlib.Path(os.environ.get("DROVER_BIN", SOURCE / "build/dev/bin"))
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


class Client:
    """Of a server at a gRPC and, if known, an HTTP address (HOST:PORT)."""

    def __init__(self, grpc_address, http_address=None, credentials=None):
        self.grpc_address = grpc_address
        self.http_address = http_address
        self.channel = (grpc.secure_channel(grpc_address, credentials)
                        if credentials else
                        grpc.insecure_channel(grpc_address))
        self.stub = pb_grpc.GenerationServiceStub(self.channel)

    def close(self):
        self.channel.close()

    def http(self, path):
        """(status, body) of a GET."""
        url = f"http://{self.http_address}{path}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    # prefix_id and adapter_id are fields of the request, the others of its
    # parameters.

    def generate(self, *texts, timeout=120, **fields):
        return self.stub.Generate(batch(*texts, **fields),
                                  timeout=timeout).responses

    def stream(self, text, timeout=120, **fields):
        return self.stub.GenerateStream(
            pb.SingleGenerationRequest(
                request=pb.GenerationRequest(text=text), **_split(fields)),
            timeout=timeout)

    def tokenize(self, *texts, **fields):
        request = pb.BatchedTokenizeRequest(
            requests=[pb.TokenizeRequest(text=text) for text in texts],
            **fields)
        return self.stub.Tokenize(request, timeout=120).responses

    def model_info(self):
        return self.stub.ModelInfo(pb.ModelInfoRequest(), timeout=120)


class Server(Client):
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
        super().__init__(*(f"127.0.0.1:{self.ports[port]}"
                           for port in ("grpc_port", "http_port")))

    def _read_ready(self, fifo):
        """Waits until the server writes it, or dies."""
        ready = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        died = os.pidfd_open(self.process.pid)
        try:
            readable, _, _ = select.select([ready, died], [], [])
            if ready not in readable:
                raise RuntimeError("drover serve ended: " + self.log())
            return os.read(ready, 4096)
        finally:
            os.close(ready)
            os.close(died)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()
        self._folder.cleanup()

    def shard_pids(self):
        children = pathlib.Path(
            f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def shard_pid(self):
        return self.shard_pids()[0]


def parameters(**groups):
    """parameters(stopping={...}, sampling={...}, method="SAMPLE", ...)"""
    return json_format.ParseDict(groups, pb.Parameters())


def batch(*texts, **fields):
    return pb.BatchedGenerationRequest(
        requests=[pb.GenerationRequest(text=text) for text in texts],
        **_split(fields))


def _split(fields):
    own = {name: fields.pop(name) for name in ("prefix_id", "adapter_id")
           if name in fields}
    return {**own, "params": parameters(**fields)}
