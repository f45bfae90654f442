"""Has a command run by a process that knows its libraries already, and ends as that ends: `light|heavy PROGRAM ARGUMENT...`

Where no server is, or none that may run this, it becomes the program itself. tests/preloaded.py says what for.
"""

import _signal  # `signal` and `socket` cost as much as all the rest of a start: they make enums
import _socket
import marshal
import os
import sys

IGNORABLE = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM)


def main():
    name, *words = sys.argv[1:]
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    ignored = [number for number in IGNORABLE if _signal.getsignal(number) == _signal.SIG_IGN]
    try:
        connection.connect(os.path.join(os.environ["TILTH_PRELOADED_SOCKETS"], name))
        send(connection, (words, os.getcwd(), dict(os.environ), ignored, umask()))
        served = connection.recv(1) == b"y"
    except (KeyError, OSError):
        served = False
    if not served:
        os.execv(words[0], words)
    for number in set(IGNORABLE) - set(ignored):
        _signal.signal(number, lambda number, frame: connection.send(bytes([number])))
    status = connection.recv(4)
    if not status:
        sys.exit("the process that ran this for the tests is gone")
    end(int.from_bytes(status, sys.byteorder, signed=True))


def send(connection, request):
    """A request, and with it the streams of this process."""
    body = marshal.dumps(request)
    body = len(body).to_bytes(4, sys.byteorder) + body
    streams = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2))
    sent = connection.sendmsg([body], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    connection.sendall(body[sent:])


def umask():
    old = os.umask(0)
    os.umask(old)
    return old


def end(status):
    """As the process ended: with its exit status, or of its signal (below zero)."""
    if status < 0:
        if status != -_signal.SIGKILL:
            _signal.signal(-status, _signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


main()
