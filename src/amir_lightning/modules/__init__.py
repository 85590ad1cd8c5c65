"""LightningModules: a network, how it is trained, and how it is scored."""

from amir_lightning.errors import InputError
from amir_lightning.modules.restoration import RestorationModule

__all__ = ["RestorationModule", "module_class"]


def module_class(objective: str) -> type[RestorationModule]:
    """The module of an objective: plain, contrastive or adversarial.

    Raises:
        InputError: There is no such objective.
    """
    if objective == "contrastive":
        from amir_lightning.modules.contrastive import ContrastiveModule

        return ContrastiveModule
    if objective == "adversarial":
        from amir_lightning.modules.adversarial import AdversarialModule

        return AdversarialModule
    if objective != "plain":
        raise InputError(
            f"loss.objective is '{objective}'; choose from plain, contrastive, adversarial"
        )
    return RestorationModule
