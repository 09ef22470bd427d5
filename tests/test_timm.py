"""timm and segmentation_models_pytorch take WaveMix like a model of their own."""

import pytest
import segmentation_models_pytorch
import timm
import timm.data
import timm.optim
import torch
from mmengine.registry import MODELS, DefaultScope

import wavemix_mm.timm
from wavemix_mm.apis import init_model
from wavemix_mm.engine.run.config import load_config
from wavemix_mm.errors import UserInputError

SMALL = "wavemix_lite_32_7"


def test_the_names_are_registered_and_those_with_weights_are_known():
    assert set(timm.list_models("wavemix*")) == set(wavemix_mm.timm.VARIANTS)
    assert timm.list_models("wavemix*", pretrained=True) == [
        "wavemix_64_6_l3.camvid",
        "wavemix_lite_32_7.cifar10",
    ]


def test_a_model_has_the_state_dict_of_the_config_and_the_size_of_the_paper():
    with torch.device("meta"), DefaultScope.overwrite_default_scope("mmpretrain"):
        reference = MODELS.build(load_config("configs/wavemix/imagenet.py").model)
        model = timm.create_model("wavemix_192_16_l3")
    shapes = {name: value.shape for name, value in reference.state_dict().items()}
    assert {name: value.shape for name, value in model.state_dict().items()} == shapes
    assert sum(p.numel() for p in model.parameters()) == 28_887_240  # Table 9


def test_shipped_classifier_gives_the_logits_of_mmpretrain():
    reference = init_model(
        "configs/wavemix/cifar10_32-7.py", "wavemix_mm://cifar10_32-7", device="cpu"
    )
    model = timm.create_model(SMALL, pretrained=True).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images), reference(images, mode="tensor"))
    config = timm.data.resolve_data_config({}, model=model)
    preprocessor = reference.data_preprocessor
    torch.testing.assert_close(
        255 * torch.tensor(config["mean"]), preprocessor.mean.flatten(), atol=0.01, rtol=0
    )
    torch.testing.assert_close(
        255 * torch.tensor(config["std"]), preprocessor.std.flatten(), atol=0.01, rtol=0
    )


def test_features_of_the_shipped_segmentor_are_a_pyramid_of_means():
    reference = init_model(
        "configs/wavemix/camvid_64-6.py", "wavemix_mm://camvid_64-6", device="cpu"
    )
    model = timm.create_model("wavemix_64_6_l3", pretrained=True, features_only=True).eval()
    assert model.feature_info.reduction() == [4, 8, 16, 32]
    assert model.feature_info.channels() == [64] * 4
    images = torch.rand(1, 3, 96, 68)
    with torch.no_grad():
        maps = model(images)
        torch.testing.assert_close(maps[0], reference.backbone(images)[-1])
    assert [tuple(x.shape[2:]) for x in maps] == [(24, 17), (12, 9), (6, 5), (3, 3)]
    cells = maps[0][..., :16].unflatten(2, (12, 2)).unflatten(4, (8, 2))
    torch.testing.assert_close(maps[1][..., :8], cells.mean((3, 5)))
    # a cell at an odd edge is the mean of what exists
    torch.testing.assert_close(maps[1][..., 8], maps[0][..., 16].unflatten(2, (12, 2)).mean(3))


def test_arguments_of_timm():
    model = timm.create_model(SMALL, pretrained=True, in_chans=1, num_classes=5, drop_rate=0.5)
    images = torch.rand(2, 1, 16, 16)
    assert model(images).shape == (2, 5)
    assert model.forward_head(model.forward_features(images), pre_logits=True).shape == (2, 32)
    model.reset_classifier(0)
    assert model(images).shape == (2, 32)
    model.reset_classifier(3, global_pool="")
    assert model(images).shape == (2, 32, 16, 16)
    with pytest.raises(UserInputError, match="global_pool='max'"):
        model.reset_classifier(3, "max")
    features, maps = model.forward_intermediates(images, indices=2)
    assert features.shape == (2, 32, 16, 16)
    assert [x.shape[-1] for x in maps] == [4, 2]
    with pytest.raises(UserInputError, match="'NLC'"):
        model.forward_intermediates(images, output_fmt="NLC")
    for enable in (True, False):
        model.set_grad_checkpointing(enable)
        assert model.backbone.with_cp == enable


def test_layer_wise_learning_rates_grow_towards_the_head():
    model = timm.create_model(SMALL, num_classes=3)
    optimizer = timm.optim.create_optimizer_v2(model, opt="adamw", lr=1e-3, layer_decay=0.5)
    scales = {
        name: group["lr_scale"]
        for group in optimizer.param_groups
        for name, parameter in model.named_parameters()
        if any(parameter is other for other in group["params"])
    }
    assert scales["head.fc.weight"] == 1
    first, last = (scales[f"backbone.blocks.{i}.reduction.weight"] for i in (0, 6))
    assert scales["backbone.stem.conv1.weight"] < first < last < 1
    assert last / first == pytest.approx(2**6)


@pytest.mark.parametrize("decoder", ["Unet", "FPN"])
def test_segmentation_models_pytorch_trains_a_decoder_over_it(decoder):
    network = getattr(segmentation_models_pytorch, decoder)(
        "tu-wavemix_64_6_l3", encoder_weights=True, classes=4
    )
    encoder = network.encoder.model.model.backbone
    pretrained = timm.create_model("wavemix_64_6_l3", pretrained=True).backbone
    torch.testing.assert_close(encoder.state_dict(), pretrained.state_dict())
    logits = network(torch.rand(2, 3, 64, 96))
    assert logits.shape == (2, 4, 64, 96)
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
