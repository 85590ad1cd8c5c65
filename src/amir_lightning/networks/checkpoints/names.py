"""Parameter names of public checkpoints, as rules that translate this project's names."""

import re
from collections.abc import Callable, Iterable, Sequence

Rule = tuple[str, str | Callable[[re.Match[str]], str]]
"""Pattern in our name and its replacement; the rules of a list apply one after the other."""

RESTORMER: list[Rule] = [
    (r"^stem\.", "patch_embed.proj."),
    (r"^head\.", "output."),
    (r"^bottleneck\.", "latent."),
    (r"^encoders\.(\d)\.", lambda m: f"encoder_level{int(m[1]) + 1}."),
    (r"^decoders\.(\d)\.", lambda m: f"decoder_level{3 - int(m[1])}."),
    (r"^downs\.(\d)\.", lambda m: f"down{int(m[1]) + 1}_{int(m[1]) + 2}.body."),
    (r"^ups\.(\d)\.", lambda m: f"up{4 - int(m[1])}_{3 - int(m[1])}.body."),
    (r"^merges\.(\d)\.", lambda m: f"reduce_chan_level{3 - int(m[1])}."),
    (r"\.(norm[12])\.", r".\1.body."),
    (r"\.attention\.project_in\.", ".attn.qkv."),
    (r"\.attention\.depthwise\.", ".attn.qkv_dwconv."),
    (r"\.attention\.", ".attn."),
    (r"\.feed_forward\.depthwise\.", ".ffn.dwconv."),
    (r"\.feed_forward\.", ".ffn."),
]
"""S. W. Zamir et al., Restormer; AMIR's release has the same names for its backbone."""

SWINIR: list[Rule] = [
    (r"^stem\.", "conv_first."),
    (r"^stem_norm\.", "patch_embed.norm."),
    (r"^head\.", "conv_last."),
    (r"^conv\.", "conv_after_body."),
    (r"^groups\.(\d+)\.conv\.", r"layers.\1.conv."),
    (r"^groups\.(\d+)\.swin\.blocks\.", r"layers.\1.residual_group.blocks."),
    (r"\.attention\.", ".attn."),
    (r"\.feed_forward\.linear([12])\.", r".mlp.fc\1."),
]
"""J. Liang et al., SwinIR."""

TAT: list[Rule] = [
    *RESTORMER,
    (r"\.(qkv_dwconv|dwconv)\.shared$", ".dw_kernel"),
    (r"\.(qkv_dwconv|dwconv)\.share$", ".lambda_dw"),
    (r"^fuse\.", "reduce_final."),
    (r"^kernels\.encoder\.", "tren.E."),
    (r"^kernels\.mlp\.", "tren.mlp."),
    (r"^(kernels\.\w+)\.bottleneck\.", r"\1.latent."),
    (r"^kernels\.(attn|ffn)\.(\w+)\.", r"tren.kernel_\2_\1.0."),
]
"""Z. Yang et al., TAT."""

RESTORE_RWKV: list[Rule] = [
    (r"^stem\.", "patch_embed."),
    *RESTORMER[1:8],
    (r"\.norm([12])\.", r".ln\1."),
    (r"\.scale([12])$", r".gamma\1"),
    (r"\.spatial_mix\.", ".att."),
    (r"\.channel_mix\.", ".ffn."),
    (r"\.decay$", ".spatial_decay"),
    (r"\.bonus$", ".spatial_first"),
    (r"\.shift\.weights$", ".omni_shift.alpha"),
    (
        r"\.shift\.kernels\.(\d)$",
        lambda m: ".omni_shift.conv{0}x{0}.weight".format(2 * int(m[1]) + 1),
    ),
]
"""Z. Yang et al., Restore-RWKV."""


def renamed(names: Iterable[str], rules: Sequence[Rule]) -> dict[str, str]:
    """Translate our names to theirs."""
    theirs = {}
    for ours in names:
        name = ours
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        theirs[ours] = name
    return theirs
