"""A program whose log is read line by line, so that a test can wait for one."""

import re
import subprocess
import threading


class LoggedProcess:
    """Use as a context manager: what still runs at its end is killed."""

    def __init__(self, command):
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, text=True)
        self.pid = self._process.pid
        self.lines = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self.lines.append(None)
            self._changed.notify_all()

    def await_line(self, pattern):
        """The first group of the first line that matches, once there is one."""

        def found():
            for line in self.lines:
                if line is None:
                    raise AssertionError(f"no {pattern!r} in\n{self.log()}")
                match = re.search(pattern, line)
                if match:
                    return match
            return None

        with self._changed:
            self._changed.wait_for(found, timeout=120)
            match = found()
        if match is None:
            raise AssertionError(f"no {pattern!r} yet in\n{self.log()}")
        return match.group(match.lastindex or 0)

    def log(self):
        return "".join(line for line in self.lines if line)

    def signal(self, number):
        self._process.send_signal(number)

    def wait(self):
        return self._process.wait(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()
