"""Neuroglancer itself, served from this machine together with the copy.

The package ``neuroglancer`` (extra ``[view]``) brings the built client and its server, in a thread
of its own. The copy is served at the same port, so that one forwarded port is enough for a copy
on another machine.
"""

from __future__ import annotations

from typing import Any

from shardreader.viewing.served_volume import ServedVolume
from shardreader.viewing.server import LOOPBACK, new_token, volume_rule

__all__ = ["ViewerPage"]


class ViewerPage:
    """A page with a viewer, served until it is closed. One at a time in a process.

    Parameters
    ----------
    served : ServedVolume
    port : int
        0 takes one that is free.

    Attributes
    ----------
    url : str
        Of the page; cannot be guessed.
    volume_url : str
        Of the directory with the ``info``.

    Raises
    ------
    ImportError
        The package ``neuroglancer`` is not installed.
    OSError
        The port is in use.
    """

    def __init__(self, served: ServedVolume, *, port: int = 0) -> None:
        import neuroglancer
        import neuroglancer.server

        self._served = served
        neuroglancer.set_server_bind_address(LOOPBACK, port)
        # The page may ask this process for the user's cloud credentials, and has no need of them.
        self._viewer = neuroglancer.Viewer(allow_credentials=False)
        token = new_token()
        neuroglancer.server.global_server.app.add_handlers(".*", [volume_rule(served, token)])
        self.url: str = self._viewer.get_viewer_url()
        self.volume_url = f"{neuroglancer.server.get_server_url()}/{token}"

    def show(self, state: dict[str, Any]) -> None:
        """Set what the viewer shows, as Neuroglancer's JSON."""
        self._viewer.set_state(state)

    def close(self) -> None:
        """End the server."""
        import neuroglancer

        neuroglancer.stop()
        self._served.close()
