"""What each action does, in a few words: left and right are the subject's."""

from __future__ import annotations

import re

from moue.actions import HEAD_TURN, sideless

REGIONS = {"eye": "eyes", "brow": "brows", "cheek": "cheeks & nose", "nose": "cheeks & nose"}
WORDS = {
    "eyeBlink": "the {side} eye closes",
    "eyeLookDown": "the {side} eye looks down",
    "eyeLookIn": "the {side} eye looks towards the nose",
    "eyeLookOut": "the {side} eye looks away from the nose",
    "eyeLookUp": "the {side} eye looks up",
    "eyeSquint": "the lids of the {side} eye narrow",
    "eyeWide": "the {side} eye opens wide",
    "jawForward": "the chin comes forward",
    "jawLeft": "the jaw moves to the left",
    "jawRight": "the jaw moves to the right",
    "jawOpen": "the jaw opens",
    "mouthClose": "the lips stay together over an open jaw",
    "mouthFunnel": "the lips come forward and open, as for an o",
    "mouthPucker": "the closed lips are pursed, as for a kiss",
    "mouthLeft": "the mouth moves to the left",
    "mouthRight": "the mouth moves to the right",
    "mouthSmile": "the {side} corner of the mouth rises",
    "mouthFrown": "the {side} corner of the mouth falls",
    "mouthDimple": "the {side} corner of the mouth is drawn back",
    "mouthStretch": "the {side} corner of the mouth is drawn outwards",
    "mouthRollLower": "the lower lip rolls in over the teeth",
    "mouthRollUpper": "the upper lip rolls in over the teeth",
    "mouthShrugLower": "the lower lip is pushed up and out",
    "mouthShrugUpper": "the upper lip is pushed up and out",
    "mouthPress": "the lips press on each other on the {side}",
    "mouthLowerDown": "the lower lip is drawn down on the {side}",
    "mouthUpperUp": "the upper lip is drawn up on the {side}",
    "browDown": "the {side} brow is drawn down",
    "browInnerUp": "the inner ends of both brows rise",
    "browOuterUp": "the outer end of the {side} brow rises",
    "cheekPuff": "both cheeks puff out",
    "cheekSquint": "the {side} cheek rises towards the eye",
    "noseSneer": "the {side} side of the nose is drawn up",
    "headYaw": f"the head turns to the left, below 0 to the right; by {HEAD_TURN:g}° at 1",
    "headPitch": f"the head turns up, below 0 down; by {HEAD_TURN:g}° at 1",
    "headRoll": f"the head tilts to the left, below 0 to the right; by {HEAD_TURN:g}° at 1",
}


def region(action: str) -> str:
    """The part of the face: `eyes` for eyeBlinkLeft."""
    part = re.split("[A-Z]", action)[0]
    return REGIONS.get(part, part)


def meaning(action: str) -> str:
    """What it does; "" for an action that is none of moue's."""
    name = sideless(action)
    return WORDS.get(name, "").format(side=action.removeprefix(name).lower())
