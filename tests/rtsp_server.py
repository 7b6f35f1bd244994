#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Serves a 16 kHz WAV file followed by silence, and a test picture, at rtsp://127.0.0.1:PORT/talk until
standard input ends. PORT 0 selects a free port. The port is printed when clients can connect.

The stream never ends, like that of a camera. If a server announces the end, `rtpjitterbuffer` of
GStreamer 1.22 can deadlock, because two of its threads wait for the same signal."""
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

MEDIA = """( filesrc location="{}" ! wavparse ! audioconvert ! audioresample ! concat name=talk ! rtpL16pay name=pay0 pt=96
audiotestsrc wave=silence ! audio/x-raw,rate=16000,channels=1 ! talk.
videotestsrc pattern=black ! video/x-raw,format=I420,width=64,height=64,framerate=10/1 ! jpegenc ! rtpjpegpay name=pay1 pt=26 )"""


def main():
    port, file = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
    factory = GstRtspServer.RTSPMediaFactory(launch=MEDIA.format(file), shared=False)
    server.get_mount_points().add_factory("/talk", factory)
    loop = GLib.MainLoop()
    if not server.attach(None):
        sys.exit(f"rtsp_server.py: port {port} is in use")
    GLib.io_add_watch(0, GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP | GLib.IOCondition.IN, lambda *_: loop.quit())
    print(server.get_bound_port(), flush=True)
    loop.run()


main()
