"""Evaluate a checkpoint of a segmentation, classification or detection model."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone need not be installed

try:
    from wavemix_mm.engine.run.command_line import RunParser, cli_errors
    from wavemix_mm.host.environment import check_stack

    check_stack()
except ImportError as error:
    sys.exit(f"error: {error}")


def parse_args(argv: list[str] | None, prog: str | None = None) -> argparse.Namespace:
    """Parse the command line: mmseg's options, and some of mmpretrain and mmdet."""
    parser = RunParser(__doc__, "test_dataloader.batch_size=4", "the log and the metrics", prog)
    add = parser.add_argument
    add("checkpoint", help="checkpoint: a file, an address, or wavemix_mm://NAME")
    place = "segmentation: folder for the predicted label maps; "
    add("--out", help=f"{place}classification and detection: .pkl file for the predictions")
    item = (
        "not segmentation: write predictions or metrics to --out (.pkl; metrics: .json, .yaml too)"
    )
    add("--out-item", choices=["pred", "metrics"], default="pred", help=item)
    add("--show", action="store_true", help="show predictions in a window")
    add("--show-dir", help="folder for painted predictions")
    add("--wait-time", type=float, default=2, help="seconds that --show waits after each image")
    add("--tta", action="store_true", help="test-time augmentation")
    folded = "fold norms and the transform before the test; the checkpoint may be folded already"
    add("--deploy", action="store_true", help=folded)
    fast = "--deploy in the fastest type of the device; on a GPU also compiled, with CUDA graphs"
    add("--optimize", action="store_true", help=fast)
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
            writers = {"IoUMetric", "CityscapesMetric"}
            with DefaultScope.overwrite_default_scope("mmseg"):
                kinds = [getattr(named_class(one, METRICS), "__mro__", ()) for one in evaluators]
            names = [{base.__name__ for base in bases} for bases in kinds]
            evaluators = [
                one for one, found in zip(evaluators, names, strict=True) if writers & found
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


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Run the tool."""
    with cli_errors():
        test(parse_args(argv, prog))


if __name__ == "__main__":
    main()
    from wavemix_mm.engine.parallel.distributed import leave

    leave()
