"""An OpenCV tracker as a TraX server. usage: opencv_tracker.py CSRT|KCF|MIL|MOSSE"""

import sys

import cv2
import trax

MAKERS = {
    "CSRT": cv2.TrackerCSRT_create,
    "KCF": cv2.TrackerKCF_create,
    "MIL": cv2.TrackerMIL_create,
    "MOSSE": cv2.legacy.TrackerMOSSE_create,
}


def main():
    make, tracker, box = MAKERS[sys.argv[1]], None, None
    cv2.setRNGSeed(1)
    with trax.Server([trax.Region.RECTANGLE], [trax.Image.PATH]) as server:
        while True:
            request = server.wait()
            if request.type not in ("initialize", "frame"):
                return
            frame = cv2.imread(request.image["color"].path())
            if request.type == "initialize":
                # OpenCV's boxes start at whole pixels.
                box = tuple(int(round(v)) for v in request.objects[0][0].bounds())
                tracker = make()
                tracker.init(frame, box)
            else:
                found, moved = tracker.update(frame)
                # A tracker that says it is lost stays where it was, as TraX asks for a region.
                box = moved if found else box
            server.status([(trax.Rectangle.create(*(float(v) for v in box)), {})])


main()
