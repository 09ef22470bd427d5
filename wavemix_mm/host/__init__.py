"""OpenMMLab around the plugin: environment, doctor, bases, model index."""
