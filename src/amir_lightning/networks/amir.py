"""AMIR, the network of Fig. 2: Restormer with task-adaptive routing.

Yang et al., "All-In-One Medical Image Restoration via Task-Adaptive Routing", MICCAI 2024, Sec. 2.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, get_args

import torch
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.checkpoints import official
from amir_lightning.networks.layers.expert_options import (
    ExpertOptions,
    Fusion,
    GateMap,
    GateOrder,
)
from amir_lightning.networks.layers.instruction import (
    DictionaryMode,
    InstructionActivation,
    MixtureHead,
    RoutingInstructionNetwork,
)
from amir_lightning.networks.layers.routing import (
    ChannelMode,
    ChannelRouting,
    SpatialMode,
    SpatialRouting,
)
from amir_lightning.networks.restoration_network import Report
from amir_lightning.networks.restormer import Restormer
from amir_lightning.networks.validate import one_of


class AMIR(Restormer):
    """All-in-one medical image restoration by task-adaptive routing.

    A routing instruction network predicts an instruction from the image. A spatial routing module
    precedes each encoder level; a channel routing module precedes the bottleneck and each decoder
    level (Sec. 2.1).

    Deviation: where the paper and the released code differ, the defaults follow the code with
    N=32, which has the 23.54 M parameters of Table 4. Arguments that name an equation can be set to
    what the paper prints.

    The ablations of Table 4 are `dictionary="none"`, `spatial_mode="none"` and
    `channel_mode="none"`. Deviation: without its spatial modules the network has 22,669,364
    parameters. The 22.74 M of "w/o SRM" still count the three projections of the instruction;
    `spatial_mode="projection"` keeps these and adds them to the features, one value per channel.

    Args:
        in_channels: Channels of the images.
        width: Channels C of the first level, an even number.
        depths: Blocks of levels 1 to 4, the same in encoder and decoder.
        refinement_depth: Blocks after the decoder.
        heads: Attention heads of levels 1 to 4.
        ffn_expansion_factor: Hidden channels of the feed-forward network per channel, rounded down.
        instruction_size: Length of the instruction and of each dictionary entry.
        num_experts: Experts M of each spatial routing module.
        top_k: Experts K that each pixel uses.
        num_instructions: Dictionary entries N; paper: 16.
        mixture_head: Eq. (1), "linear" layer after the pooling; paper: "pooled".
        instruction_activation: Eq. (1), "gelu" of the mixed dictionary; paper: "none".
        gate_map: Eq. (2), "noisy" map without bias; paper: "plain" fully connected layer.
        gate_order: Eq. (2), "topk_softmax", gates sum to 1; paper: "softmax_topk".
        fusion: Eq. (3), "logsumexp" of the experts; paper: weighted "sum".
        expert_ratio: Eq. (3), hidden units of an expert per channel; the paper only says "MLP".
        spatial_residual: Eq. (3), add the features to the fused experts; paper: False.
        channel_mode: Eq. (4), "affine" map under the mask; paper: "mask" alone. "none" leaves out
            channel routing.
        refinement_routing: Put a channel routing module before the refinement as well.
        dictionary: Table 4, "learned", "frozen" at its random initial values, or "none".
        spatial_mode: Table 4, "mixture" of experts, "projection" of the instruction alone, or
            "none" for no spatial routing.

    Raises:
        InputError: An argument is out of range or not among its choices.
    """

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 42,
        depths: Sequence[int] = (5, 7, 7, 9),
        refinement_depth: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        instruction_size: int = 256,
        num_experts: int = 4,
        top_k: int = 2,
        num_instructions: int = 32,
        mixture_head: MixtureHead = "linear",
        instruction_activation: InstructionActivation = "gelu",
        gate_map: GateMap = "noisy",
        gate_order: GateOrder = "topk_softmax",
        fusion: Fusion = "logsumexp",
        expert_ratio: float = 2.66,
        spatial_residual: bool = True,
        channel_mode: ChannelMode = "affine",
        refinement_routing: bool = False,
        dictionary: DictionaryMode = "learned",
        spatial_mode: SpatialMode = "mixture",
    ) -> None:
        super().__init__(in_channels, width, depths, refinement_depth, heads, ffn_expansion_factor)
        one_of("refinement_routing", refinement_routing, (True, False))
        one_of("spatial_mode", spatial_mode, get_args(SpatialMode))
        one_of("channel_mode", channel_mode, get_args(ChannelMode))
        if spatial_mode == channel_mode == "none":
            raise InputError(
                "spatial_mode=none and channel_mode=none leave nothing to route; type "
                f"network=restormer network.width={width}"
            )
        self.instruct = RoutingInstructionNetwork(
            in_channels,
            num_instructions,
            instruction_size,
            mixture_head,
            instruction_activation,
            dictionary,
        )

        def spatial(channels: int) -> nn.Module:
            if spatial_mode == "projection":
                return nn.Linear(instruction_size, channels)
            options = ExpertOptions(
                num_experts=num_experts,
                top_k=top_k,
                expert_ratio=expert_ratio,
                gate_map=gate_map,
                gate_order=gate_order,
                fusion=fusion,
                residual=spatial_residual,
            )
            return SpatialRouting(channels, instruction_size, options)

        spatial_stages = [] if spatial_mode == "none" else ["encoder1", "encoder2", "encoder3"]
        self.spatial_routing = nn.ModuleDict(
            {stage: spatial(self.stage_channels[stage]) for stage in spatial_stages}
        )
        channel_stages = ["bottleneck", "decoder3", "decoder2", "decoder1"]
        channel_stages += ["refinement"] * refinement_routing
        self.channel_routing = nn.ModuleDict(
            {
                stage: ChannelRouting(self.stage_channels[stage], instruction_size, channel_mode)
                for stage in channel_stages
                if channel_mode != "none"
            }
        )

    @property
    def query_encoder(self) -> nn.Module:
        """Routing instruction network, whose output has the ``query``."""
        return self.instruct

    @property
    def routing(self) -> Sequence[nn.Module]:
        """Routing instruction network, and the routing modules."""
        return self.instruct, self.spatial_routing, self.channel_routing

    def draw_noise(self, lq: Tensor, generators: Sequence[torch.Generator]) -> None:
        """Draw the noise of the gates; see `RestorationNetwork`."""
        height, width = (side + -side % self.size_multiple for side in lq.shape[-2:])
        dtype = torch.promote_types(lq.dtype, torch.float32)
        for level, routing in enumerate(self.spatial_routing.values()):
            if isinstance(routing, SpatialRouting):
                tokens = (height >> level) * (width >> level)
                routing.gate.draw_noise(generators, tokens, dtype)

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W), H and W multiples of 8."""
        return self.trace(lq).image

    def trace(self, lq: Tensor) -> Report:
        """Restore (B, in_channels, H, W) and report balance loss, gates and instruction."""
        mixture, query, instruction = self.instruct(lq)
        gates: list[Tensor] = []
        balances: list[Tensor] = []

        def route(stage: str, features: Tensor) -> Tensor:
            if stage in self.channel_routing:
                return self.channel_routing[stage](features, instruction)
            if stage not in self.spatial_routing:
                return features
            if isinstance(self.spatial_routing[stage], nn.Linear):
                return features + self.spatial_routing[stage](instruction)[..., None, None]
            features, stage_gates, balance = self.spatial_routing[stage](features, instruction)
            gates.append(stage_gates)
            balances.append(balance)
            return features

        image = self.traverse(lq, route)
        return Report(
            image,
            balance=torch.stack(balances).sum() if balances else None,
            gates=tuple(gates),
            mixture=mixture,
            instruction=instruction,
            query=query,
        )

    @classmethod
    def from_official(cls, source: str | Path | Mapping[str, object]) -> Self:
        """Build the network from a checkpoint of the authors' release.

        Sizes are inferred from the shapes. The other arguments are those of the released code.

        Args:
            source: Checkpoint file, or its parameters by official name.

        Raises:
            InputError: The file is unreadable, or a name or shape does not match the release.
        """
        state = official.read(source)
        network = cls(**official.infer_sizes(state)._asdict())
        network.load_state_dict(official.import_state(state, network.state_dict()))
        return network
