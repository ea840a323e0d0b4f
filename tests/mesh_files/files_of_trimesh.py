"""Files that trimesh 5.2.0 exported of a tetrahedron with colors and normals, and what it read in them again."""

import base64
import zlib

VERTICES = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
FACES = [[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]]


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


PLY_TEXT = b"""\
ply
format ascii 1.0
comment https://github.com/mikedh/trimesh
element vertex 4
property float x
property float y
property float z
property float nx
property float ny
property float nz
property uchar red
property uchar green
property uchar blue
property uchar alpha
element face 4
property list uchar int vertex_indices
end_header
0.00000000 0.00000000 0.00000000 -0.57735026 -0.57735026 -0.57735026 0 1 2 3
1.00000000 0.00000000 0.00000000 0.92102450 -0.27542141 -0.27542141 4 5 6 7
0.00000000 1.00000000 0.00000000 -0.27542141 0.92102450 -0.27542141 8 9 10 11
0.00000000 0.00000000 1.00000000 -0.27542141 -0.27542141 0.92102450 12 13 14 15
3 0 2 1
3 0 1 3
3 1 2 3
3 2 0 3
"""

PLY_BINARY = _unpacked(
    "c-m!<OKyWO5QcfAkGQWzFW?h|MCvM=EP4=RV2G_4W0|1}UF8D3QoHS@cdAW*Aji^3Gv7b|STkC7q^wQFkY++L)1^`%N=QK!f+@OLtw~;26)2<}Q8"
    "(Kp*$d=twz4>>!~qJPpb-@`oPdPB^8*aRk-iaaYHjn5ma?{A9DUIF;L``{%A>AKYUXNl&I~nB_-Jncln*o6g3p-LoK35gEQk3bQZzU;ifPkS*lX"
    "p`5PP+h11rFgVD`3uuRmi1VH5|!X*X)`zlYs&@%8OuadUfjrf1!;QNLf3hs(s%<Z=4r)ALL0aAYI2(HCP9hlA1=(J;Xk|A@_&J^"
)

GLB = _unpacked(
    "c-oaz*-jfV6dks<bbaU#RDL$W*UQ+>3!+ggQBhI>;-x~>kW7*h%p{tbP-qmXKhS^ROWN1I^e_4$y`F^t3QI?_#>@3tuCLuc*?+(2dEUh%&-=ULc^~"
    "%LI}?(1!XzY3M$2ACnx7{m8Fq^vJDeU;5@cDJljek+hG`ZJ6VfES!3ZUN+>i$OFvXcco{zHT`g%Xg2jingXBe-?(Q()vtmkPIhuMHk5vkJ&vuv1_E"
    "EqEyCSj8ApN~+20<I{@i$2+FZEkPwBFE9V*9+5wDEwN8><q^VY5`739GoGHK!I_Tlw#>TQ2!G2;9W~N$n!jG_j-jXcAWt(8DvcW4MwXrqr!33ZXrdW"
    "WSGXmN%Sr3l4hQc!>cmn-7@$b8JvQkAStMs3<{J}al7vs$b&N=YC_hq92l31f#5>Zd&ZZd)>uPnEfnL*7_K?9iav0zs5VzCbr}Y+6CI%9@GMUQoSk4"
    "5jj*7iJUXqSf*dRCXq>y@gnVl6ZS8NhcZ#!YwYS^5Us#dQo%Zg>&22P@2vO3FIxZf~$5`u_qG>^17yc!80!ZE&L?_)ebnc*1SZ)oFxy+RiLMx%HP@G"
    "#~B&NqGBYla@YNo)=2xBD}A-Q12S4<T(v<401OU}8`LQ4TgxlpOKOA0U{rSUlvIH#mUWR7SS_j6O1pk@N_6s(cT_;@HTwVeAF1Xv%%;F?1e*7|_C2F"
    "Y-9N$v_8?=lrtfxAkoopUnJDq>rP8h}|JElc0Af#DV%Y2emcqnWwYtdpx5LkMfZFk!TdwaS9RB>28kl7o}$%%c~~r&X90S(!yR!I=;ERw$that=t0T"
    "ntr6Ba};((bjSS8jWJ4t}{i~u9-coOTRpFcPqBTq@SZ@@Y!tH-Ha-v7?+pk#vQt{SsIteTVkd8k6`Q58?x>Q2KOr7fIghQxxhF7?beRxKKK4Fc;)B*"
    "OVxj|>MvGnOWw`z`^LTFg~g@il}C@CtUi7A{Kd;x%|EYy)vfjWcw=?>$IrUW8~+1TJiD0"
)
"""Two nodes, one the child of the other, with the same mesh; the second mirrors it."""

GLB_VERTICES = [
    [1.0, 2.0, 3.0], [1.333754, 2.858465, 3.389418], [-0.864223, 2.477827, 3.544384], [1.070315, 1.773087, 3.439962],
    [4.939391, 0.363606, 3.231116], [5.006621, -0.587131, 2.951302], [3.144747, 0.694043, 3.843031],
    [5.544696, 0.424269, 3.665663],
]  # fmt: skip
GLB_FACES = [*FACES, [5, 6, 4], [7, 5, 4], [7, 6, 5], [7, 4, 6]]
