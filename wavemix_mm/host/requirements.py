"""What the package requires. setup.py and the doctor read these lists, and nothing else has them.

setup.py runs this file alone, so that it imports nothing.
"""

REQUIRED = ["torch", "torchvision", "numpy", "packaging", "PyWavelets", "safetensors", "typer"]

# Module -> requirement. The two families install the same modules and overwrite each other's files,
# so that each is an extra and neither is required.
STACKS = {
    "onedl": {
        "mmengine": "onedl-mmengine>=0.10.12",
        "mmcv": "onedl-mmcv>=2.3.6",
        "mmseg": "onedl-mmsegmentation>=1.4.2",
        "mmpretrain": "onedl-mmpretrain>=1.3.6",
    },
    "openmmlab": {
        "mmengine": "mmengine>=0.10.7,<1",
        "mmcv": "mmcv>=2.1,<2.2",
        "mmseg": "mmsegmentation>=1.2.2,<2",
        "mmpretrain": "mmpretrain>=1.2,<2",
    },
}
# The family's mmdet, which only detection needs.
DETECTION = {"onedl": "onedl-mmdetection>=3.5.1", "openmmlab": "mmdet>=3.3,<4"}
# What the packages of a family import without declaring it.
UNDECLARED = {"onedl": [], "openmmlab": ["setuptools<82", "ftfy", "regex"]}
FAMILIES = {name: [*stack.values(), *UNDECLARED[name]] for name, stack in STACKS.items()}
