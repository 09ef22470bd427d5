"""What an exported file says of the images it takes."""

from mmengine.config import Config

from wavemix_mm.deployment.metadata import size_rule


def test_size_rule_is_of_the_test_dataset():
    """A config may have inherited a `test_pipeline` that its own test dataset does not use."""
    loader, resize = dict(type="LoadImageFromFile"), dict(type="Resize", scale=(48, 36))
    cfg = Config(
        dict(
            test_pipeline=[loader, resize],
            test_dataloader=dict(dataset=dict(pipeline=[loader, dict(resize, scale=(8, 8))])),
        )
    )
    assert size_rule(cfg) == [{"step": "Resize", "scale": (8, 8)}]
    cfg.pop("test_dataloader")
    assert size_rule(cfg) == [{"step": "Resize", "scale": (48, 36)}]
