"""LightningModules: training and scoring of a network."""

from amir_lightning.errors import InputError
from amir_lightning.modules.restoration_module import RestorationModule

__all__ = ["RestorationModule", "module_class"]


def module_class(objective: str) -> type[RestorationModule]:
    """Return the module class of an objective: plain, contrastive, adversarial or task_adaptive.

    Raises:
        InputError: There is no such objective.
    """
    if objective == "contrastive":
        from amir_lightning.modules.contrastive import ContrastiveModule

        return ContrastiveModule
    if objective == "adversarial":
        from amir_lightning.modules.adversarial import AdversarialModule

        return AdversarialModule
    if objective == "task_adaptive":
        from amir_lightning.modules.adaptive import AdaptiveModule

        return AdaptiveModule
    if objective != "plain":
        raise InputError(
            f"loss.objective is '{objective}'; choose from plain, contrastive, adversarial, "
            "task_adaptive"
        )
    return RestorationModule
