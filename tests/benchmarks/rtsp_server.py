"""A GStreamer RTSP server for `bench_record`: one film, sent to all clients at once.

Run by Debian's own Python: ``/usr/bin/python3 rtsp_server.py FILE.mp4 PORT [PASSWORD]`` after
``apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad python3-gi``.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402


def main(file: str, port: str, password: str = "") -> None:
    """Serve rtsp://127.0.0.1:PORT/cam until killed; with a password, user bob needs it. Prints `ready` and the port it got:
    port 0 takes one that is free, and one that somebody else has ends it."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( filesrc location={file} ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )")
    factory.set_shared(True)
    if password:
        _ask_password(server, factory, password)
    server.get_mount_points().add_factory("/cam", factory)
    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    print("ready", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def _ask_password(server: "GstRtspServer.RTSPServer", factory: "GstRtspServer.RTSPMediaFactory", password: str) -> None:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic("bob", password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


if __name__ == "__main__":
    main(*sys.argv[1:])
