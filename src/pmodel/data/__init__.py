"""Data: named sets, files and folders, and densities that are known.

``load_data("mnist:0")`` answers with a ``Dataset``: what one datum is (``domain``), what its label is (``given``), splits for
learning, choosing and reporting (``train``, ``valid``, ``test``), and a ``hash`` of the content, so that two scores are of
one measure exactly if their hashes agree. ``unpaired(a, b)`` is two sets to translate between. ``datasets()`` lists the names,
``FILES`` the kinds of file. ``from_arrays`` takes data from memory.
"""

from .arrays import from_arrays as from_arrays
from .dataset import LIMIT as LIMIT
from .dataset import SMALL as SMALL
from .dataset import Dataset as Dataset
from .dataset import Split as Split
from .density import KnownDensity as KnownDensity
from .drawn import draw_tins as draw_tins
from .drawn import measure_tins as measure_tins
from .faces import FACTORS as FACTORS
from .faces import draw_faces as draw_faces
from .factors import Factor as Factor
from .loading import FILES as FILES
from .loading import load_data as load_data
from .mapped import Mapped as Mapped
from .mapped import in_memory as in_memory
from .mapped import spread as spread
from .named import Named as Named
from .named import datasets as datasets
from .recoloured import greyed as greyed
from .recoloured import recoloured as recoloured
from .sequences import from_sequences as from_sequences
from .shapes import SHAPES as SHAPES
from .shapes import draw_shapes as draw_shapes
from .shapes import shape_content as shape_content
from .shapes import shape_masks as shape_masks
from .stacked import stacked as stacked
from .text import from_text as from_text
from .unpaired import condition as condition
from .unpaired import conditions as conditions
from .unpaired import described as described
from .unpaired import load_described as load_described
from .unpaired import require_one_set as require_one_set
from .unpaired import unpaired as unpaired
