"""Starts moto's server: `python s3_server.py PORT`, 0 for a free one.

Its own command handles requests on a thread each, and looks whether a name is free a moment before it writes: now and then
two creators win one name. Here one request is handled after the other.
"""

import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

moto = DomainDispatcherApplication(create_backend_app)
one_at_a_time = threading.Lock()


def application(environ, start_response):
    with one_at_a_time:
        return moto(environ, start_response)


run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True, request_handler=MotoRequestHandler)
