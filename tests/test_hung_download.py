"""A hub that accepts and then says nothing ends in one of our errors, not in a job that waits for ever."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "from tam.model import checkpoint; checkpoint.PATIENCE = 0.5; checkpoint.locate('some/model')"
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"


@pytest.mark.parametrize("answer", [b"", HEADERS], ids=["silent", "stops in the middle"])
def test_a_hung_download_ends(tmp_path, answer):
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # closed
                    return
                accepted.append(connection)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        environment |= {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}",
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path),
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300
        )
        server.shutdown(socket.SHUT_RDWR)
    assert accepted
    assert (
        "ModelError: no such model; got 'some/model'" in done.stderr
        and "cure: check the name and the network" in done.stderr
    )
