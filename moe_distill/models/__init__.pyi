from .alexnet import AlexNet
from .base import Network
from .convnet import ConvNet
from .library import LibraryNetwork
from .mlp import MLP
from .module_network import ModuleNetwork
from .resnet import ResNet10, ResNet18
from .timm_network import TimmNetwork
from .torchvision_network import TorchvisionNetwork
from .vgg import VGG11
from .weights import WeightsFile

__all__ = [
    "MLP",
    "VGG11",
    "AlexNet",
    "ConvNet",
    "LibraryNetwork",
    "ModuleNetwork",
    "Network",
    "ResNet10",
    "ResNet18",
    "TimmNetwork",
    "TorchvisionNetwork",
    "WeightsFile",
]
