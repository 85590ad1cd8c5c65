"""``python -m amir_lightning.export run=last output=folder``: portable weights."""

from pathlib import Path

from omegaconf import DictConfig

from amir_lightning.cli import command


@command("export")
def main(cfg: DictConfig) -> None:
    """Write weights, configuration and model card; on request programs of other engines."""
    import json

    from amir_lightning.export.formats import (
        FORMATS,
        export_programs,
        write_config,
        write_weights_folder,
    )
    from amir_lightning.export.scans import scores_on_scans
    from amir_lightning.networks.checkpoints import safe_load
    from amir_lightning.runs.clinical_files import clinical_measures
    from amir_lightning.runs.folder import find_run
    from amir_lightning.system.atomic import complete_folder
    from amir_lightning.weights.folder import CONFIG, network_name
    from amir_lightning.weights.source import load_weights

    run = find_run(str(cfg.run), Path(cfg.paths.runs_dir), "checkpoints/best.ckpt")
    path = run.checkpoint(cfg.checkpoint)
    weights = load_weights(str(path), Path(cfg.paths.runs_dir), list(cfg.trusted))
    content = safe_load.load(path)["hyper_parameters"]
    arguments = {
        key: value for key, value in content["network_config"].items() if key != "_target_"
    }
    about = {
        "metrics": weights.metrics,
        "scores": run.result if cfg.checkpoint == "best" else {},
        "scans": {} if cfg.scans is None else scores_on_scans(Path(cfg.scans), weights.fingerprint),
        "network_name": run.record.get("network"),
        "clinical": clinical_measures(run) if cfg.checkpoint == "best" else [],
        "scale": run.record.get("scale"),
        "seed": run.record.get("seed"),
        "max_steps": run.record.get("max_steps"),
        "data": {
            name: {"source": data.source, "fingerprint": data.fingerprint}
            for name, data in run.data.items()
        },
        "versions": run.record.get("versions", {}),
    }
    formats = [name for name in FORMATS if cfg[name]]
    output = Path(cfg.output)
    with complete_folder(output) as work:
        write_weights_folder(work, weights.network, arguments, content["tasks"], about)
        programs = export_programs(work, weights.network, formats, cfg.tolerance)
        if programs:
            config = json.loads((work / CONFIG).read_text())
            write_config(work, {**config, "programs": programs})
    print(f"written:  {output}")
    module = network_name(weights.network).rpartition(".")[0]  # empty for a class of this package
    trusted = f", trusted=['{module}']" if module else ""
    print(
        f'next:     python -c "from amir_lightning import load_pretrained; '
        f"print(load_pretrained('{output}'{trusted}).tasks)\""
    )


if __name__ == "__main__":
    main()
