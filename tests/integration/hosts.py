"""Hosts that share a network: this one, or two network namespaces of it."""

import contextlib
import os
import pathlib
import shutil
import subprocess


def make_certificates(folder, names):
    """An authority, and a certificate for each name: {name: flags}."""
    folder = pathlib.Path(folder)

    def openssl(*args):
        subprocess.run(["openssl", *map(str, args)], check=True, cwd=folder,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-nodes", "-days", 1, "-subj",
            "/CN=test", "-keyout", "ca.key", "-out", "ca.crt")
    flags = {}
    for name in names:
        kind = "IP" if name.replace(".", "").isdigit() else "DNS"
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-nodes", "-subj", f"/CN={name}", "-addext",
                f"subjectAltName={kind}:{name}", "-keyout", f"{name}.key",
                "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey",
                "ca.key", "-CAcreateserial", "-copy_extensions", "copy", "-days",
                1, "-out", f"{name}.crt")
        flags[name] = [
            "--rendezvous-tls-cert-path", str(folder / f"{name}.crt"),
            "--rendezvous-tls-key-path", str(folder / f"{name}.key"),
            "--rendezvous-tls-ca-cert-path", str(folder / "ca.crt"),
        ]
    return flags


class Loopback:
    """Both hosts are this one."""

    addresses = ("127.0.0.1", "127.0.0.1")

    def command(self, host, command):
        return command

    def close(self):
        pass


class NetworkNamespaces:
    """Two hosts, joined by a cable. Raises OSError where there can be none."""

    addresses = ("10.83.0.1", "10.83.0.2")

    def __init__(self):
        for tool in ("unshare", "nsenter", "ip"):
            if shutil.which(tool) is None:
                raise OSError(f"there is no {tool}")
        self._stack = contextlib.ExitStack()
        try:
            # A user namespace of our own gives the rights; who lives in the
            # network namespaces keeps them.
            first = self._live(["unshare", "--user", "--map-root-user", "--net"])
            self._pids = [first]
            second = self._live([*self._enter(0), "unshare", "--net"])
            self._pids.append(second)
            self._connect()
        except BaseException:
            self._stack.close()
            raise

    def _live(self, command):
        """Starts `cat` there; it runs once it has given a line back."""
        process = subprocess.Popen([*command, "cat"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self._stack.callback(process.wait)
        for pipe in (process.stdout, process.stderr, process.stdin):
            self._stack.callback(pipe.close)
        try:
            process.stdin.write(b"\n")
            process.stdin.flush()
            alive = process.stdout.readline() == b"\n"
        except BrokenPipeError:
            alive = False
        if not alive:
            raise OSError(process.stderr.read().decode().strip())
        return process.pid

    def _enter(self, host):
        return ["nsenter", "--target", str(self._pids[host]), "--user", "--net",
                "--preserve-credentials"]

    def _connect(self):
        def ip(host, *args):
            done = subprocess.run([*self._enter(host), "ip", *args],
                                  capture_output=True, text=True)
            if done.returncode != 0:
                raise OSError(f"ip {' '.join(args)}: {done.stderr.strip()}")

        ip(0, "link", "add", "cable0", "type", "veth", "peer", "name", "cable1",
           "netns", str(self._pids[1]))
        for host in (0, 1):
            ip(host, "addr", "add", f"{self.addresses[host]}/24", "dev",
               f"cable{host}")
            ip(host, "link", "set", f"cable{host}", "up")
            ip(host, "link", "set", "lo", "up")

    def command(self, host, command):
        return [*self._enter(host), *command]

    def cut(self):
        """Nothing goes through from here on, and nobody is told."""
        subprocess.run([*self._enter(1), "ip", "addr", "flush", "dev",
                        "cable1"], check=True)

    def close(self):
        self._stack.close()
