"""What the studio answers: its page, and the API by which the page moves a face."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import FastAPI, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from moue.actions import action_vector, least
from moue.bundle import BUNDLES
from moue.curves import ActionCurve
from moue.errors import MoueError, shown, with_kind
from moue.expressions import Expression, mix
from moue.glossary import region
from moue.rates import parse_fps
from moue.studio.live import LEAST_SIDE, MOST_SIDE, play
from moue.studio.pictures import (
    CLIPS,
    MAX_FPS,
    MAX_SECONDS,
    PICTURES,
    Clips,
    check_length,
    encoded,
)
from moue.studio.refusal import Refusal, status_of
from moue.studio.stage import Stage

MAX_PHOTO, MAX_CLIP = 20_000_000, 8_000_000  # bytes that are sent for either
PATIENCE = 60.0  # s for them to arrive
MAX_FRAMES = MAX_SECONDS * MAX_FPS  # of a clip
MAX_NAMES = 10_000  # characters of all that a clip names; moue's actions have 700
MAX_NAME = 255  # characters of a photo's
CHUNK = 2**18  # bytes of a clip that are read at a time
SECONDS, FPS = 2.0, 30  # of a clip that names none


def studio_app(stage: Stage) -> FastAPI:
    """The studio on this stage, as an ASGI app; it is for `Guard` to say who may ask."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    page, policy = _page()
    clips = Clips(stage)

    @app.get("/")
    async def show() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": policy})

    @app.get("/api/model")
    async def model() -> dict[str, Any]:
        return _model(stage)

    @app.post("/api/portraits")
    async def add(request: Request, face: str = "largest", name: str = "photo.jpg") -> JSONResponse:
        photo = await _body(request, MAX_PHOTO)
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise Refusal(
                415,
                "the body must be the photo's own bytes, but got a form (multipart/form-data);"
                " curl --data-binary @photo.jpg sends them",
            )
        which = int(face) if re.fullmatch("[0-9]{1,4}", face) else face[:40]
        key = await stage.take(photo, name[-MAX_NAME:], which)
        opened = {"id": key, **stage.find(key).described(), "open": list(stage.sitters)}
        return JSONResponse(opened, 201)

    @app.delete("/api/portraits/{key}")
    async def drop(key: str) -> Response:
        stage.drop(key)
        return Response(status_code=204)

    @app.get("/api/portraits/{key}/frame")
    async def frame(
        key: str,
        expression: str | None = None,
        degree: float = 1.0,
        action: Annotated[list[str] | None, Query()] = None,
        side: Annotated[int | None, Query(ge=LEAST_SIDE, le=MOST_SIDE)] = None,
        format: str = "png",
    ) -> Response:
        sitter, kind = stage.find(key), _one_of(PICTURES, format, "format")
        parts = {} if expression is None else {expression: degree}
        weights = mix(parts, _weights(action or []), stage.animator.expressions).weights
        made = await stage.frame(sitter, weights, side)
        picture = await asyncio.to_thread(encoded, made, kind)
        return Response(picture, media_type=f"image/{kind}")

    @app.post("/api/portraits/{key}/clip")
    async def clip(key: str, request: Request) -> Response:
        portrait = stage.find(key).portrait
        body = await _body(request, MAX_CLIP)
        kind, curve = await asyncio.to_thread(clip_asked, body, stage)
        file = await clips.make(portrait, curve, kind, request.is_disconnected)
        if file is None:
            return Response()  # nobody is there to read it
        named = {
            "content-disposition": f'attachment; filename="moue.{kind}"',
            "content-length": str(os.fstat(file.fileno()).st_size),
        }
        return StreamingResponse(_chunks(file), media_type=CLIPS[kind], headers=named)

    @app.websocket("/api/live")
    async def live(socket: WebSocket) -> None:
        await play(socket, stage)

    _answer_errors(app)
    return app


def _answer_errors(app: FastAPI) -> None:
    """Every error is one line of JSON, and none shows where in the code it came from."""

    @app.exception_handler(MoueError)
    async def refused(_: Request, error: MoueError) -> JSONResponse:
        status = status_of(error)
        unread = {"connection": "close"} if status in (408, 413) else {}  # there may be more of it
        return JSONResponse({"error": str(error)}, status, unread)

    @app.exception_handler(HTTPException)
    async def no_such_page(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def no_such_value(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        told = f"{first['loc'][-1]}: {first['msg']}, but got {shown(first['input'])}"
        return JSONResponse({"error": told}, 422)

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": f"unforeseen {with_kind(error)}; please report it"}, 500)


def _page() -> tuple[str, str]:
    """The page, and the policy by which a browser runs its own script and style and no others."""
    page = files("moue.studio").joinpath("page.html").read_text("utf-8")

    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(part.encode()).digest()) for part in found)
        return " ".join(f"'sha256-{digest.decode()}'" for digest in digests)

    policy = (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')};"
        " img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )
    return page, policy


def _model(stage: Stage) -> dict[str, Any]:
    animator = stage.animator
    return {
        "bundle": {
            "name": animator.bundle.manifest.name,
            "version": animator.bundle.manifest.version,
            "given": _given(animator.bundle.folder),
        },
        "runtime": animator.runtime.name,
        "device": animator.runtime.device,
        "actions": [
            {"name": name, "region": region(name), "min": least(name), "max": 1.0}
            for name in animator.actions
        ],
        "expressions": {name: dict(weights) for name, weights in animator.expressions.items()},
        "portraits": [{"id": key, **sitter.described()} for key, sitter in stage.sitters.items()],
    }


def _given(folder: Path) -> str:
    """What `--bundle` takes for a bundle's folder."""
    return folder.name if folder.parent == BUNDLES else os.path.join(".", folder)


async def _body(request: Request, most: int) -> bytes:
    """The request's body, counted as it arrives and refused (413) with the first byte too many."""

    async def read() -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise too_large
        return bytes(body)

    too_large = Refusal(413, f"this is over {most // 10**6} MB; send a smaller one")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    try:
        return await asyncio.wait_for(read(), PATIENCE)
    except asyncio.TimeoutError:
        raise Refusal(408, f"not all of it arrived within {PATIENCE:g} s; send it again") from None


def _read(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise Refusal(400, 'a clip is asked for in JSON, such as {"expression": "happy"}')
    return content


def clip_asked(body: bytes, stage: Stage) -> tuple[str, ActionCurve]:
    """One of `CLIPS`, and what it plays, every name and number checked; for any thread."""
    wanted = _read(body)
    return _one_of(CLIPS, wanted.get("format", "mp4"), "format"), clip_curve(wanted, stage)


def clip_curve(wanted: Mapping[str, Any], stage: Stage) -> ActionCurve:
    """What the clip that is asked for plays."""
    curve = wanted.get("curve", "rise")
    if isinstance(curve, dict):
        rows, names = curve.get("values"), curve.get("actions")
        if isinstance(rows, list) and len(rows) > MAX_FRAMES:
            raise Refusal(422, f"a clip here has at most {MAX_FRAMES} frames, but got {len(rows)}")
        across = [names, *(rows if isinstance(rows, list) else ())]
        most = len(stage.animator.actions)
        if any(isinstance(each, list) and len(each) > most for each in across):
            raise Refusal(422, "the curve names more actions than there are")
        played = ActionCurve.from_json(json.dumps(curve).encode())
        check_length(played.seconds, float(played.fps))
    else:
        shapes = {"rise": Expression.rise, "pulse": Expression.pulse}
        make = shapes[_one_of(shapes, curve, "curve")]
        seconds, fps = wanted.get("seconds", SECONDS), parse_fps(wanted.get("fps", FPS))
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise Refusal(422, f"seconds must be a number, but got {shown(seconds)}")
        check_length(seconds, float(fps))
        played = make(_target(wanted, stage), seconds, fps)
    action_vector(dict.fromkeys(played.actions, 0.0), stage.animator.actions)
    return played


def _target(wanted: Mapping[str, Any], stage: Stage) -> Expression:
    parts, actions = wanted.get("mix", {}), wanted.get("actions", {})
    if not (isinstance(parts, dict) and isinstance(actions, dict)):
        raise Refusal(422, 'mix and actions must be numbers by name, such as {"jawOpen": 0.4}')
    if "expression" in wanted:
        name = wanted["expression"]
        if not isinstance(name, str):
            raise Refusal(422, f"expression must be a name, but got {shown(name)}")
        parts = {**parts, name: wanted.get("degree", 1.0)}
    if sum(map(len, (*parts, *actions))) > MAX_NAMES:
        raise Refusal(422, "mix and actions name more than there can be; leave out what is 0")
    return mix(parts, actions, stage.animator.expressions)


def _weights(pairs: Sequence[str]) -> dict[str, float]:
    """`jawOpen=0.4` and more of the kind, by name."""
    weights = {}
    for pair in pairs:
        name, _, number = pair.partition("=")
        try:
            weights[name] = float(number)
        except ValueError:
            raise Refusal(422, f"action must be NAME=NUMBER, but got {pair[:40]!r}") from None
    return weights


def _one_of(known: Mapping[str, Any], value: Any, what: str) -> str:
    if isinstance(value, str) and value in known:
        return value
    raise Refusal(422, f"{what} must be {' or '.join(known)}, but got {shown(value)}")


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk
