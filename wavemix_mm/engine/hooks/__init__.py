from wavemix_mm.engine.hooks.bad_sample_hook import BadSampleHook
from wavemix_mm.engine.hooks.cudnn_trial_hook import CudnnTrialHook
from wavemix_mm.engine.hooks.late_losses_hook import LateLossesHook
from wavemix_mm.engine.hooks.mean_loss_hook import MeanLossHook
from wavemix_mm.engine.hooks.non_finite_hook import NonFiniteHook
from wavemix_mm.engine.hooks.progress_bar_hook import ProgressBarHook
from wavemix_mm.engine.hooks.safe_checkpoint_hook import SafeCheckpointHook
from wavemix_mm.engine.hooks.stateless_seed_hook import StatelessSeedHook
from wavemix_mm.engine.hooks.switch_optimizer_hook import SwitchOptimizerHook
from wavemix_mm.engine.hooks.validation_pictures_hook import ValidationPicturesHook

__all__ = [
    "BadSampleHook",
    "CudnnTrialHook",
    "LateLossesHook",
    "MeanLossHook",
    "NonFiniteHook",
    "ProgressBarHook",
    "SafeCheckpointHook",
    "StatelessSeedHook",
    "SwitchOptimizerHook",
    "ValidationPicturesHook",
]
