"""``python -m amir_lightning.bench``: steps/s, slices/s and peak memory on this machine."""

import time

from omegaconf import DictConfig

from amir_lightning.cli import command


@command("bench")
def main(cfg: DictConfig) -> None:
    """Time training steps and whole slices of one network; medians, no logging, no checkpoints."""
    import os
    import platform
    import resource
    from pathlib import Path
    from statistics import median

    import torch
    from rich.console import Console
    from rich.table import Table

    from amir_lightning.assemble import active_tasks, build_module, locate_data
    from amir_lightning.data.datamodule import (
        LoadingOptions,
        MultiTaskDataModule,
        TaskDataModule,
    )
    from amir_lightning.losses import restoration_terms, total

    tasks = active_tasks(cfg)
    stores = locate_data(cfg, tasks)
    module = build_module(cfg, tasks)
    gpu = cfg.trainer.accelerator != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    module.to(device)
    options = LoadingOptions(cfg.data.patch_size, cfg.data.batch_size, validation_slices=cfg.slices)
    parts = [TaskDataModule(task, path, options) for task, path in stores.items()]
    data = MultiTaskDataModule(parts, options)
    network = module.network
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def wait() -> float:
        if gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    def peak_mib() -> float:
        if gpu:
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    table = Table(
        title=f"{cfg.network_name}, scale {cfg.scale}, {device.type}", title_justify="left"
    )
    for name in ("what", "size", "per second", "peak memory, MiB"):
        table.add_column(name, justify="left" if name in ("what", "size") else "right")

    network.eval()
    for task, loader in zip(tasks, data.val_dataloader(), strict=True):
        seconds = []
        for batch in loader:
            lq = batch.lq.to(device)
            start = wait()
            with torch.inference_mode():
                network(lq)
            seconds.append(wait() - start)
        size = "x".join(map(str, lq.shape[-2:]))
        rate = 1 / median(seconds[1:] or seconds)
        table.add_row(f"restore {task.name} (slices)", size, f"{rate:.2f}", f"{peak_mib():.0f}")

    network.train()
    seconds, loading = [], []
    batches = iter(data.train_dataloader())
    for _ in range(cfg.steps + 2):
        start = wait()
        batch = next(batches)
        loading.append(wait() - start)
        start = wait()
        report = network.report(batch.lq.to(device))
        loss = total(
            restoration_terms(report.image, batch.hq.to(device), report.estimates, report.balance)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(wait() - start)
    size = f"{cfg.data.batch_size} x {cfg.data.patch_size}x{cfg.data.patch_size}"
    table.add_row("train (steps)", size, f"{1 / median(seconds[2:]):.2f}", f"{peak_mib():.0f}")
    table.add_row("load (batches)", size, f"{1 / median(loading[2:]):.0f}", "")
    Console().print(table)
    where = torch.cuda.get_device_name() if gpu else f"{platform.machine()}, {os.cpu_count()} cores"
    print(f"{where}; torch {torch.__version__}; float32; medians; steps without loading")
    if cfg.loss.objective != "plain":
        print(f"steps are those of loss=l1_balance, not of the {cfg.loss.objective} training")
    print("peak memory is that of the process so far; data:", *map(str, map(Path, stores.values())))


if __name__ == "__main__":
    main()
