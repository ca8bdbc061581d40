"""The generator that moue ships, `edge`, after Fan et al. (AAAI 2019), whose own is in `training.paper`.

It is linear in its features, F(I, a) = e0(I) + Σ a_i · e_i(I), level by level (eq. 1 and 7), and
decodes them to a backward flow, a blend mask and a colour layer: the frame is (1 − m) · warp(photo,
flow) + m · colour. What it puts out at a = 0 is subtracted, so that f(I, 0) = I exactly. The colour
layer is light alone, and inside the mouth, where the mask is more than thin, light times a fixed
picture of teeth and tongue, which the network says where to look up: it places teeth, it does not
have to paint them. What is shipped stops at light and place, and the SDK looks the picture up for
every pixel of the photo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from moue.actions import by_side
from moue.kernels import EDGE, FAINT, STILL, THIN
from moue.mouth import COLOURED, COLOURLESS, GRAIN_BLOCKS, LUMA, PLACE_STEP
from training.teacher.mouth import MOUTH_WINDOW, draw_picture
from training.teacher.turn import TOP

INPUT_SIZE = 256
FLOW_UNIT = 0.1  # sides of the square per unit of raw network output
OUTPUTS = 8  # raw channels: flow 2, mask 1, place in the mouth's picture 2, light 3
FURTHEST = 3.0  # times as far as it was learned, that an action may be carried
PLACE_UNIT = 0.25  # of the mouth's picture per unit of raw network output
# Where the mouth's picture lies at first: the place of (u, v) = (0.5, 0.5) and the sides of the square
# that the whole picture covers.
MOUTH_CENTRE, MOUTH_SPAN = (0.5, 0.645), (0.46, 0.34)
# Of the square's side, over which every motion fades to nothing; at its top, over TOP.
WINDOW_MARGIN = 0.06


class Layers(NamedTuple):
    """What the edge generator puts out for training, the outputs at rest already subtracted.

    flow: [N, 2, S, S], backward, in sides of the square; mask: [N, 1, S, S], raw (clip to [0, 1] to
    use it); colour: [N, 3, S, S], raw likewise; place: [N, 2, h, w], where in the mouth's picture (u, v)
    the pixels of its window lie.
    """

    flow: Tensor
    mask: Tensor
    colour: Tensor
    place: Tensor


@dataclass(frozen=True)
class Level:
    """One resolution of the feature pyramid, coarse to fine.

    size: pixels a side; trunk, skip: channels of the encoder and of the decoder there;
    residual: whether actions enter at this level, or only the photo does;
    rank: of the decoder's convolution there, 0 for a full one.
    """

    size: int
    trunk: int
    skip: int
    residual: bool
    rank: int = 0


EDGE_LEVELS = (
    Level(4, 192, 192, True, rank=96),
    Level(8, 192, 160, True, rank=80),
    Level(16, 160, 128, True, rank=64),
    Level(32, 96, 80, True),
    Level(64, 48, 32, True),
    Level(128, 24, 16, False),
)


class Trunk(nn.Module):
    """The encoder that all e_i share: photo [B, 3, 256, 256] in [0, 1] → one map per level, fine to coarse."""

    def __init__(self, levels: Sequence[Level]) -> None:
        super().__init__()
        stages, channels = [], 3
        for level in sorted(levels, key=lambda level: -level.size):
            stages.append(_stage(channels, level.trunk, blocks=0 if level.size > 64 else 1))
            channels = level.trunk
        self.stages = nn.ModuleList(stages)

    def forward(self, photo: Tensor) -> list[Tensor]:
        x = photo * 2 - 1
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class Residual(nn.Module):
    """Two convolutions around which the features pass unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels, momentum=0.05),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels, momentum=0.05),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.body(x), 0.2)


def _stage(channels: int, out: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(out, momentum=0.05),
        nn.LeakyReLU(0.2),
        *(Residual(out) for _ in range(blocks)),
    )


class Skips(nn.Module):
    """e0 and every e_i at one level, and the convolution they enter the decoder by.

    Each e_i is a 1×1 convolution of the shared map t, so Σ a_i · e_i(I) = (Σ a_i · W_i) · t: training
    sums the matrices, which is the same function as summing n feature maps, and cheaper.
    """

    def __init__(self, level: Level, actions: int) -> None:
        super().__init__()
        self.base = nn.Conv2d(level.trunk, level.skip, 1, bias=False)
        self.enter = nn.Conv2d(level.skip, level.skip, 3, padding=1)
        self.residual = (
            nn.Parameter(torch.randn(actions, level.skip, level.trunk) / level.trunk**0.5)
            if level.residual
            else None
        )

    def forward(self, trunk: Tensor, actions: Tensor) -> Tensor:
        """trunk [B, C, h, w], actions [B, K, n] → [B·K, skip, h, w], entered into the decoder."""
        count = actions.shape[1]
        if self.residual is None:
            return self.enter(self.base(trunk)).repeat_interleave(count, 0)
        matrix = self.base.weight[None, :, :, 0, 0] + torch.einsum(
            "mn,nsc->msc", actions.flatten(0, 1), self.residual
        )
        maps = trunk.flatten(2).repeat_interleave(count, 0)
        summed = torch.bmm(matrix.to(maps.dtype), maps)
        return self.enter(summed.unflatten(2, trunk.shape[2:]))

    def folded(self, trunk: Tensor) -> tuple[Tensor, Tensor | None]:
        """Base [1, skip, h, w] and residuals [n, skip, h, w] as the decoder's sum takes them.

        The convolution after the sum is linear, so it is applied to each term once per portrait.
        """
        base = self.enter(self.base(trunk))
        if self.residual is None:
            return base, None
        actions, skip, _ = self.residual.shape
        each = F.conv2d(trunk, self.residual.flatten(0, 1)[:, :, None, None])
        each = each.reshape(actions, skip, *trunk.shape[2:])
        return base, F.conv2d(each, self.enter.weight, padding=1)


def _convolution(channels: int, out: int, rank: int) -> nn.Module:
    """A 3×3 convolution; with a rank, one to that many channels and a 1×1 on from there.

    The deep levels have few pixels and many weights: a frame's time goes into reading these.
    """
    if not rank:
        return nn.Conv2d(channels, out, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(channels, rank, 3, padding=1, bias=False), nn.Conv2d(rank, out, 1)
    )


class EdgeDecoder(nn.Module):
    """Convolution and pixel shuffle up the pyramid: entered skips → raw flow, mask, place and light."""

    def __init__(self, levels: Sequence[Level]) -> None:
        super().__init__()
        after = [*(level.skip for level in levels[1:]), OUTPUTS]
        self.up = nn.ModuleList(
            _convolution(level.skip, 4 * out, level.rank)
            for level, out in zip(levels, after, strict=True)
        )
        for parameter in self.up[-1].parameters():  # near rest to begin with
            parameter.data *= 0.3

    def forward(self, skips: Sequence[Tensor]) -> Tensor:
        """One [N, skip, h, w] per level, coarse to fine → raw [N, 8, S, S]."""
        return F.pixel_shuffle(self.up[-1](self.finest(skips)), 2)

    def finest(self, skips: Sequence[Tensor]) -> Tensor:
        """What the last convolution takes: [N, skip, S/2, S/2]."""
        x = F.leaky_relu(skips[0], 0.2)
        for up, skip in zip(self.up[:-1], skips[1:], strict=True):
            x = F.leaky_relu(F.pixel_shuffle(up(x), 2) + skip, 0.2)
        return x


class EdgeGenerator(nn.Module):
    """The shipped generator: n actions, one shared trunk, flow, mask and colour out."""

    preset = "edge"

    def __init__(self, actions: int, levels: Sequence[Level] = EDGE_LEVELS) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.actions = actions
        self.trunk = Trunk(levels)
        self.skips = nn.ModuleList(Skips(level, actions) for level in levels)
        self.decoder = EdgeDecoder(levels)
        size = 2 * levels[-1].size
        self.window: Tensor
        self.register_buffer("window", _window(size), persistent=False)
        self.mouth_window = tuple(round(size * share) for share in MOUTH_WINDOW)
        self.place: Tensor
        self.register_buffer("place", _first_place(size, self.mouth_window), persistent=False)
        self.picture: Tensor
        self.register_buffer("picture", torch.from_numpy(draw_picture())[None], persistent=False)

    def inner_weights(self) -> list[nn.Parameter]:
        """The matrices of weights between the first convolution and the last: [out, …] or [n, out, in]."""
        names = [name for name, weight in self.named_parameters() if weight.dim() >= 3]
        ends = {"trunk.stages.0.0.weight", f"decoder.up.{len(self.decoder.up) - 1}.weight"}
        return [self.get_parameter(name) for name in names if name not in ends]

    @torch.no_grad()
    def carry(self, actions: Sequence[str], further: Mapping[str, float]) -> None:
        """Makes actions at 1 what they were at more, in place: a skip-sum is linear in each of them.

        Args:
            actions: the names of the n actions.
            further: how many times as far by name; one without its side stands for both, of which
                one that is named itself comes first.

        Raises:
            ValueError: a name is no action's, or a number is not from a third to 3.
        """
        for name, times in by_side(further).items():
            if name not in actions:
                raise ValueError(
                    f"cannot carry {name}: there is no such action; they are ARKit's, such as jawOpen"
                )
            if not 1 / FURTHEST <= times <= FURTHEST:
                raise ValueError(
                    f"cannot carry {name}={times:g}: give a third at least and {FURTHEST:g} at most"
                )
            for skip in self.skips:
                if isinstance(skip, Skips) and skip.residual is not None:
                    skip.residual[actions.index(name)] *= times

    def features(self, photo: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """Base and residuals of one photo [1, 3, S, S], as the decoder's sums take them, coarse to fine."""
        maps = self.trunk(photo)[::-1]
        return [
            cast(Skips, skip).folded(trunk) for skip, trunk in zip(self.skips, maps, strict=True)
        ]

    def layers(self, photo: Tensor, actions: Tensor) -> Layers:
        """photo [B, 3, S, S] in [0, 1], actions [B, K, n] → Layers of B·K frames, photo-major."""
        batch, count, n = actions.shape
        asked = torch.cat([actions, actions.new_zeros(batch, 1, n)], 1)
        maps = self.trunk(photo)[::-1]
        raw = self.decoder([skip(t, asked) for skip, t in zip(self.skips, maps, strict=True)])
        flow, mask, light, nodes = self.shape_outputs(raw.float())
        flow = _settled(_less_rest(flow, count + 1), STILL)
        mask = _settled(_less_rest(mask, count + 1), FAINT)
        light, nodes = (
            x.unflatten(0, (batch, -1))[:, :count].flatten(0, 1) for x in (light, nodes)
        )
        colour, place = self.paint(light, mask, nodes, colour_of(photo).repeat_interleave(count))
        return Layers(flow, mask, colour, place)

    def shape_outputs(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Raw [N, 8, S, S] → flow in sides of the square, mask, light, and where the mouth is looked up.

        Motion and mask fade at the square's border. The last, [N, 2, h, w], is (u, v) in the mouth's
        picture, one node for every PLACE_STEP² pixels of its window: straight teeth stay straight.
        """
        flow, mask, away, light = raw.split((2, 1, 2, 3), 1)
        left, top, right, bottom = self.mouth_window
        nodes = self.place + PLACE_UNIT * F.avg_pool2d(
            away[..., top:bottom, left:right], PLACE_STEP
        )
        return flow * (FLOW_UNIT * self.window), mask * self.window, light + 0.5, nodes

    def paint(
        self, light: Tensor, mask: Tensor, nodes: Tensor, colour: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Colour [N, 3, S, S], light on the mouth's picture, and the place [N, 2, h, w] of every pixel.

        Where the mask [N, 1, S, S] is thin the light is alone: what is thin is skin, not a mouth.
        `colour` [N]: the share of it that is kept, `colour_of` the photos; at 0 all is grey.
        """
        place = F.interpolate(nodes, scale_factor=float(PLACE_STEP), mode="bilinear")
        left, top, right, bottom = self.mouth_window
        picture, size = self.look_up(place), light.shape[-1]
        around = F.pad(picture, (left, size - right, top, size - bottom), value=1.0)
        shown = (mask / THIN - 1).clamp(0, 1)
        paint = light * (1 + shown * (around - 1))
        grey = (paint * paint.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        return paint + (1 - colour[:, None, None, None]) * (grey - paint), place

    def look_up(self, place: Tensor) -> Tensor:
        """The mouth's picture at (u, v) [N, 2, h, w] in [0, 1], bilinearly, edges repeated: [N, 3, h, w]."""
        where = 2 * place.permute(0, 2, 3, 1) - 1
        picture = self.picture.expand(len(place), -1, -1, -1)
        return F.grid_sample(picture, where, "bilinear", "border", align_corners=False)

    def forward(self, photo: Tensor, actions: Tensor) -> Tensor:
        """Frames [B·K, 3, S, S] in [0, 1]."""
        return self.compose(photo, self.layers(photo, actions))

    def compose(self, photo: Tensor, layers: Layers) -> Tensor:
        """Frames [B·K, 3, S, S] of photos [B, 3, S, S], as the SDK's kernel composes layers at their size."""
        left, top, right, bottom = self.mouth_window
        inside, mask = layers.mask[..., top:bottom, left:right], layers.mask.clone()
        edge = (EDGE * (inside - 0.5) + 0.5).clamp(0, 1)
        mask[..., top:bottom, left:right] = torch.maximum(inside.clamp(max=THIN), edge)
        repeated = photo.repeat_interleave(len(mask) // len(photo), 0)
        return compose(repeated, layers._replace(mask=mask))


def colour_of(photo: Tensor) -> Tensor:
    """`moue.mouth.colour_of` of each photo [N, 3, S, S]: [N] in [0, 1]."""
    quarter = photo.shape[-1] // 4
    middle = photo[:, :, quarter : 3 * quarter, quarter : 3 * quarter]
    means = F.avg_pool2d(middle, 2 * quarter // GRAIN_BLOCKS)
    high, low = means.amax(1), means.amin(1)
    saturation = (high - low).mean((1, 2)) / high.mean((1, 2)).clamp_min(1e-3)
    return ((saturation - COLOURLESS) / (COLOURED - COLOURLESS)).clamp(0, 1)


def compose(photo: Tensor, layers: Layers) -> Tensor:
    """(1 − m) · warp(photo, flow) + m · colour, for photo [N, 3, S, S]."""
    mask = layers.mask.clamp(0, 1)
    return (1 - mask) * warp(photo, layers.flow) + mask * layers.colour.clamp(0, 1)


def warp(photo: Tensor, flow: Tensor) -> Tensor:
    """The photo [N, 3, S, S] looked up at u + flow(u), bilinearly, edges repeated."""
    size = photo.shape[-1]
    where = 2 * (pixel_centres(size, photo) + flow.permute(0, 2, 3, 1)) - 1
    return F.grid_sample(photo, where, "bilinear", "border", align_corners=False)


def pixel_centres(size: int, like: Tensor) -> Tensor:
    """[S, S, 2]: where pixels stand (x, y) in sides of the square, of a tensor's kind and device."""
    axis = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)


def _settled(x: Tensor, by: float) -> Tensor:
    """Nearer to nothing by that much: what is meant to be still or clear is so exactly.

    Gradients pass as if nothing had been taken off, or what is nothing could never become something.
    """
    return x - x.detach().clamp(-by, by)


def _less_rest(x: Tensor, count: int) -> Tensor:
    moved, rest = x.unflatten(0, (-1, count)).split((count - 1, 1), 1)
    return (moved - rest).flatten(0, 1)


def _window(size: int) -> Tensor:
    """[1, 1, S, S], 1 inside, falling smoothly to 0 at the square's border."""
    axis = (torch.arange(size) + 0.5) / size
    across, up, down = (
        x * x * (3 - 2 * x)
        for x in (
            (torch.minimum(axis, 1 - axis) / WINDOW_MARGIN).clamp(0, 1),
            (axis / TOP).clamp(0, 1),
            ((1 - axis) / WINDOW_MARGIN).clamp(0, 1),
        )
    )
    return ((up * down)[:, None] * across)[None, None]


def _first_place(size: int, window: Sequence[int]) -> Tensor:
    """[1, 2, h, w]: where an average mouth would be looked up, (u, v) of the window's nodes."""
    left, top, right, bottom = window
    axis = (torch.arange(size // PLACE_STEP) + 0.5) * (PLACE_STEP / size)
    rows, columns = (
        axis[first // PLACE_STEP : last // PLACE_STEP]
        for first, last in ((top, bottom), (left, right))
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack(
        [
            0.5 + (at - to) / span
            for at, to, span in zip((x, y), MOUTH_CENTRE, MOUTH_SPAN, strict=True)
        ]
    )[None]
