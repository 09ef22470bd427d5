"""Evaluate a checkpoint of a segmentation, classification or detection model."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if (ROOT / "wavemix_mm").is_dir():  # a clone that need not be installed
    sys.path.insert(0, str(ROOT))

try:
    from wavemix_mm.engine.run.command_line import RunParser, cli_errors
    from wavemix_mm.host.environment import check_stack

    check_stack()
except ImportError as error:
    sys.exit(f"error: {error}")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line; mmseg's options, and those of the others where they differ."""
    parser = RunParser(__doc__, "test_dataloader.batch_size=4", work_dir="the log and the metrics")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument(
        "--out",
        help="segmentation: folder for the predicted label maps; "
        "classification and detection: .pkl file for the predictions",
    )
    parser.add_argument(
        "--out-item",
        choices=["pred", "metrics"],
        default="pred",
        help="not segmentation: what --out holds, predictions or metrics (.pkl, .json or .yaml)",
    )
    parser.add_argument("--show", action="store_true", help="show predictions in a window")
    parser.add_argument("--show-dir", help="folder for painted predictions")
    parser.add_argument("--wait-time", type=float, default=2, help="seconds a window stays")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation")
    parser.add_argument(
        "--deploy",
        action="store_true",
        help="fold norms and the transform before the test; the checkpoint may be of either kind",
    )
    parser.add_argument(
        "--optimize",
        action="store_true",
        help="--deploy, in a type that the device is fast in; on a GPU compiled, as CUDA graphs",
    )
    return parser.parse_args(argv)


def apply_args(cfg, args: argparse.Namespace) -> None:
    """Apply the command line to the config."""
    from mmengine.registry import METRICS, DefaultScope

    from wavemix_mm.errors import UserInputError
    from wavemix_mm.registry import named_class

    scope = cfg.get("default_scope")
    segmentation, detection = scope == "mmseg", scope == "mmdet"
    if args.show or args.show_dir:
        hook = cfg.get("default_hooks", {}).get("visualization")
        if hook is None:
            raise UserInputError(
                f"--show and --show-dir: config {args.config} has no visualization hook."
            )
        # the toolboxes name the switch and the folder differently
        hook["draw" if segmentation or detection else "enable"] = True
        hook.update(show=args.show, wait_time=args.wait_time)
        hook.setdefault("interval", 1)  # every image, not every 50th
        if args.show_dir and segmentation:
            cfg.visualizer["save_dir"] = args.show_dir
        elif args.show_dir and detection:
            hook["test_out_dir"] = os.path.abspath(args.show_dir)  # mmdet's is in the work dir
        elif args.show_dir:
            hook["out_dir"] = args.show_dir
    if args.tta:
        missing = [key for key in ("tta_model", "tta_pipeline") if not cfg.get(key)]
        if missing:
            raise UserInputError(f"--tta: config {args.config} has no {' and no '.join(missing)}.")
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.tta_model.module = cfg.model
        cfg.model = cfg.tta_model
    if args.out and segmentation:
        evaluators = cfg.test_evaluator
        if isinstance(evaluators, dict):
            evaluators = [evaluators]
        else:  # those of mmseg that can write predictions
            with DefaultScope.overwrite_default_scope("mmseg"):
                kinds = [named_class(metric, METRICS) for metric in evaluators]
            writers = {"IoUMetric", "CityscapesMetric"}
            evaluators = [
                metric
                for metric, kind in zip(evaluators, kinds, strict=True)
                if kind and writers & {base.__name__ for base in kind.__mro__}
            ]
        if not evaluators:
            raise UserInputError(f"--out: no test_evaluator of config {args.config} is IoUMetric.")
        for evaluator in evaluators:
            evaluator.update(output_dir=args.out, keep_results=True)
    elif args.out:
        suffixes = (".pkl", ".pickle")
        if args.out_item == "metrics":
            suffixes += (".json", ".yaml", ".yml")
        if not args.out.endswith(suffixes):
            raise UserInputError(
                f"--out {args.out} must end in {' or '.join(suffixes)} for this "
                f"{'detection' if detection else 'classification'} config."
            )


def test(args: argparse.Namespace) -> None:
    """Test as the command line says."""
    from mmengine import dump
    from mmengine.dist import is_main_process
    from mmengine.registry import METRICS

    from wavemix_mm.apis import optimize
    from wavemix_mm.engine import messages
    from wavemix_mm.engine.checkpoints import fit, loading
    from wavemix_mm.engine.run import class_check, config_check, data_check, start

    with loading.allow_unsafe_pickle(args.trust_checkpoint):
        cfg = start.prepare(args, apply_args, "test_dataloader")
        cfg.load_from, cfg.resume = args.checkpoint, False
        loading.check_file(args.checkpoint)
        folding, fold = None, None
        if args.deploy:
            folding, fold = "--deploy", start.switch_to_deploy
        if args.optimize:  # which compiles in a way of its own
            folding, fold = "--optimize", partial(optimize, compile=cfg.pop("compile", True))
        with messages.building(f"config {args.config} cannot be built"):
            runner = start.build_runner(cfg)
            dataset = runner.test_loop.dataloader.dataset
        class_check.check_num_classes(runner.model, dataset, args.config)
        for finding in config_check.find_other_annotations(cfg, "test", dataset):
            messages.warn(finding.text)
        scope = cfg.get("default_scope")
        segmentation = scope == "mmseg"
        # mmseg numbers the painted images; the others name them by their files
        written = args.out if segmentation else args.show_dir
        if written:
            data_check.check_file_names(dataset, "--out" if segmentation else "--show-dir")
        content = loading.read_ahead(args.checkpoint)
        state = loading.get_state_dict(content, args.checkpoint)
        class_check.check_classes_of_checkpoint(content, dataset, args.checkpoint)
        start.remove_ema_hooks(runner, content, folding or ("--tta" if args.tta else None))
        if folding and fit.compare_state(runner.model, state).missing:
            start.switch_to_deploy(runner.model)  # as when the checkpoint was saved
        fit.check_state_dict(runner.model, state, args.checkpoint)
        dumped = args.out_item if args.out and not segmentation else None
        if dumped == "pred":
            # mmdet's own encodes masks
            kind = "mmdet.DumpDetResults" if scope == "mmdet" else "DumpResults"
            dump_results = METRICS.build(dict(type=kind, out_file_path=args.out))
            runner.test_evaluator.metrics.append(dump_results)
        what = f"config {args.config} with checkpoint {args.checkpoint} cannot be started"

        def change(model):
            with messages.building(f"{folding}: checkpoint {args.checkpoint} cannot be folded"):
                fold(model)

        metrics = start.run(runner, "test", what, change if folding else None)
        if dumped == "metrics" and is_main_process():
            dump(metrics, args.out)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    with cli_errors():
        test(parse_args(argv))


if __name__ == "__main__":
    main()
    from wavemix_mm.engine.parallel.distributed import leave

    leave()
