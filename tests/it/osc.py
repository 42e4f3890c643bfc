"""Runs commands of the real `openstack` client, one after the other in one process: importing it takes longer than most
commands. Each line of input is a JSON list of arguments; each line of output tells exit code, stdout and stderr."""
import contextlib
import io
import json
import logging
import sys
import traceback

from openstackclient import shell

answers = sys.stdout
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    for handler in list(logging.getLogger("").handlers):
        logging.getLogger("").removeHandler(handler)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = shell.OpenStackShell().run(json.loads(line))
        except SystemExit as e:
            code = e.code
        except BaseException:
            traceback.print_exc()
            code = 99
    answers.write(json.dumps({"code": code or 0, "out": out.getvalue(), "err": err.getvalue()}) + "\n")
    answers.flush()
