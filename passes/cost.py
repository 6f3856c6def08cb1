"""What parts of a kernel cost, in turns of its innermost loop: what choose and layout go by."""

#: bytes of a core's second cache, where nobody says how large it is
CACHE = 1 << 20
#: bytes of a panel: it has to stay in that cache beside what streams past
LARGEST = 3 * CACHE // 8
#: bytes of sums that wait for their next parts: they are read and written once for every panel
WAITING = 1 << 22
#: turns of a reduction that cost as much as storing a result far from its neighbours
STORING = 24
#: turns using a packed element that cost as much as packing it
PACKING = 8
#: turns of the innermost loop that cost as much as entering and leaving it
ENTERING = 4
#: part of the arithmetic limit that a tile reaches whose lanes read and write side by side, all of them in use
DENSE = 0.8
#: ... a tile that reads every other element
SPARSE = 0.5
#: ... and a tile whose lanes run along the reduction and are folded at its end
FOLDED = 0.65
#: turns of such a tile that cost as much as one with some lanes masked, and as folding the lanes
RAGGED, FOLDING = 4, 2
#: floating-point operations that take as long as moving a byte
MOVING = 8
#: bytes of a row that are enough to read it from where it lies, unless it serves so many tiles
STREAM, SEVERAL = 128, 10
#: bytes of a cache line, and of an operand from which on it is not expected in a core's own caches
LINE, FAR = 64, CACHE // 4
#: lines that one turn of a loop asks memory for at most, and how many panels ahead all turns may go
ASKED, FURTHER = 64, 4
#: bytes from a tile's strip of a line to the next one's, up to which that is asked for
BESIDE = 256
#: how often a dear value has to be repeated for a kernel of its own to pay, and elements of the result
REPEATED, WIDE = 16, 1 << 13
#: turns that calling a kernel costs, and asking whether a parameter has changed (in Python)
CALLING, ASKING = 300, 100
#: bytes that a core keeps near, and multiply-adds that take as long as fetching a byte from further off
CORE, FETCHING = 3 * CACHE // 4, 0.5
#: multiply-adds that have to be under way for none to be waited for
FOLLOWING = 8
#: multiply-adds that take as long as loading, combining or storing an element of a tile
HANDLING = 2.5
#: threads whose even shares are planned for
SHARES = 2
#: cycles to spread an element over a vector, and to keep a sum in memory instead of a register for one addition
SPREADING, SPILLING = 0.05, 1.5
#: cycles that a line costs which does not follow the one read before, and a strip of one vector that comes from far;
#: longer strips cost as much less
ALONE, APART = 1.5, 240.0
#: lines so many bytes apart share a set of a core's first cache, which holds few: more of them cost a cycle each
SET, CROWD = 4096, 7
#: part of the arithmetic limit that is left where every panel of a product reads the larger operand anew, or goes
#: across the other one's lines
ANEW = 0.9
#: rows of a product, and products of a result, from which on its kernel packs weights that are stored output by output
ROWS, STEPS = 32, 128
#: elements of a row that are read before the next row's, and rows that are read at once, of what no cache holds
RUN, ABREAST = 1 << 10, 16
#: rows, terms and columns of a product from which on a left operand that is stored term by term is turned first
LEAST_ROWS, LEAST_TERMS, SERVED = 64, 256, 1 << 10
