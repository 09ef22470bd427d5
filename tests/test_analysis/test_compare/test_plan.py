"""wavemix_mm/analysis/compare/plan.py."""

import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from wavemix_mm.analysis.compare.plan import load_entries, plan_probes, plan_runs
from wavemix_mm.errors import UserInputError


def test_options_reach_training_and_costs(write_config):
    option = "model.backbone.embed_dims=12"
    (entry,) = load_entries([write_config("a b")], [option, "train_dataloader.batch_size=3"])
    assert entry.cfg.model.backbone.embed_dims == 12
    assert entry.spec.options["model.backbone.embed_dims"] == 12
    assert (entry.name, entry.spec.name, entry.batch_size) == ("a b", "a b", 3)
    assert entry.epochs == 110


def test_runs_are_in_the_order_of_the_seeds(entries, tmp_path):
    runs = plan_runs(entries, dict(shallow=3, deep=4), [1, 0], tmp_path)
    places = [run.folder.relative_to(tmp_path).as_posix() for run in runs]
    assert places == ["shallow/seed_1", "deep/seed_1", "shallow/seed_0", "deep/seed_0"]
    read = [Config.fromfile(run.config) for run in runs]
    assert [cfg.randomness.seed for cfg in read] == [1, 1, 0, 0]
    assert [cfg.train_cfg.max_epochs for cfg in read] == [3, 4, 3, 4]
    assert [cfg.model.backbone.depth for cfg in read] == [1, 2, 1, 2]
    assert len({run.digest for run in runs}) == 4
    assert plan_runs(entries, dict(shallow=3, deep=4), [1, 0], tmp_path) == runs


def test_a_folder_of_another_run_is_left_alone(entries, tmp_path):
    (run, _) = plan_runs(entries, dict(shallow=3, deep=3), [0], tmp_path)
    before = run.config.read_text()
    message = f"{run.folder} holds a run of another"
    with pytest.raises(UserInputError, match=message):
        plan_runs(entries, dict(shallow=4, deep=3), [1, 0], tmp_path)
    assert run.config.read_text() == before
    assert not (tmp_path / "shallow" / "seed_1").exists()  # nothing is begun
    run.write_record(dict(anything=1))
    assert run.read_record() == dict(anything=1, digest=run.digest)
    run.config.unlink()
    with pytest.raises(UserInputError, match=message):
        plan_runs(entries, dict(shallow=4, deep=3), [0], tmp_path)


def test_probes(entries, tmp_path):
    probe, _ = plan_probes(entries, tmp_path)
    assert probe.config == tmp_path / "shallow" / "probe" / "config.py"
    assert Config.fromfile(probe.config).train_cfg.max_epochs == 1


@pytest.mark.parametrize(
    "lines, message",
    [
        ("model['decode_head']['num_classes'] = 5", "has 5 classes, .* has 11"),
        ("train_dataloader['batch_size'] = 2", "differ in train_dataloader.batch_size"),
        ("train_dataloader['dataset']['pipeline'] = []", "train_dataloader.dataset.pipeline"),
        ("val_dataloader['dataset']['type'] = 'Cityscapes'", "val_dataloader.dataset.type"),
        ("val_evaluator = dict(ignore_index=255)", "val_evaluator.ignore_index"),
        ("model['data_preprocessor']['size'] = (64, 64)", "model.data_preprocessor.size"),
        ("train_cfg = dict(by_epoch=False, _delete_=True, max_iters=5)", "does not train by"),
        ("train_cfg = dict(type='IterBasedTrainLoop', max_iters=5)", "does not train by"),
        ("val_evaluator = dict(type='Other')", "val_evaluator is no IoUMetric"),
        ("val_dataloader = None", "has no val_dataloader"),
        ("default_hooks = dict(_delete_=True)", "has no default_hooks.checkpoint"),
    ],
)
def test_what_cannot_be_compared(write_config, lines, message):
    with pytest.raises(UserInputError, match=f"other.py.*{message}"):
        load_entries([write_config("first"), write_config("other", lines + "\n")], [])


def test_mistakes(write_config, tmp_path):
    first = write_config("first")
    with pytest.raises(UserInputError, match="config .*no.py does not exist"):
        load_entries([first, str(tmp_path / "no.py")], [])
    with pytest.raises(UserInputError, match="is not a segmentation config"):
        load_entries([first, "cifar10"], [])
    folder = tmp_path / "b"
    folder.mkdir()
    shutil.copy(first, folder)
    with pytest.raises(UserInputError, match="have the same file name"):
        load_entries([first, str(folder / Path(first).name)], [])
    shutil.rmtree(tmp_path / "data" / "img_dir" / "val")
    with pytest.raises(UserInputError, match="val_dataloader looks for its data in .*val"):
        load_entries([first], [])
