"""`tidewatt metrics`: figures for Prometheus."""

from __future__ import annotations

from typing import Annotated

import typer

from console.commands.screen import err


def metrics(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 9464,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; another than this machine's is for networks that nobody else is in."),
    ] = "127.0.0.1",
) -> None:
    """Serve the figures of this installation to Prometheus until interrupted; one process for all workers."""
    import signal

    from prometheus_client import CollectorRegistry, start_http_server

    from console.store import opened
    from schedules.metrics import StoreCollector

    with opened() as (db, clock):
        registry = CollectorRegistry()
        registry.register(StoreCollector(db, clock))
        server, thread = start_http_server(port, host, registry)
        err.print(f"metrics: http://{host}:{server.server_address[1]}/metrics", markup=False)
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        try:
            thread.join()
        except KeyboardInterrupt:
            server.shutdown()
            server.server_close()
