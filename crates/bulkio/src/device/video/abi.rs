//! The structures and numbers of V4L2, as `node` hands them to the kernel.
//!
//! Layouts and names are those of `include/uapi/linux/videodev2.h`, for machines of 64 bits; sizes are held against it where they are made, and each
//! is a part of its ioctl's number, so the kernel refuses any other. Reserved fields are zero. Plain data, no calls.

use rustix::ioctl::{Opcode, opcode};

/// `VIDEO_MAX_PLANES`: the length of the array of planes.
pub(super) const PLANES_MAX: usize = 8;

/// `V4L2_CAP_*`.
pub(super) mod cap {
    pub(in super::super) const VIDEO_CAPTURE: u32 = 0x0000_0001;
    pub(in super::super) const VIDEO_OUTPUT: u32 = 0x0000_0002;
    pub(in super::super) const VBI_CAPTURE: u32 = 0x0000_0010;
    pub(in super::super) const VBI_OUTPUT: u32 = 0x0000_0020;
    pub(in super::super) const SLICED_VBI_CAPTURE: u32 = 0x0000_0040;
    pub(in super::super) const SLICED_VBI_OUTPUT: u32 = 0x0000_0080;
    pub(in super::super) const VIDEO_CAPTURE_MPLANE: u32 = 0x0000_1000;
    pub(in super::super) const VIDEO_OUTPUT_MPLANE: u32 = 0x0000_2000;
    pub(in super::super) const VIDEO_M2M_MPLANE: u32 = 0x0000_4000;
    pub(in super::super) const VIDEO_M2M: u32 = 0x0000_8000;
    pub(in super::super) const RADIO: u32 = 0x0004_0000;
    pub(in super::super) const SDR_CAPTURE: u32 = 0x0010_0000;
    pub(in super::super) const SDR_OUTPUT: u32 = 0x0040_0000;
    pub(in super::super) const META_CAPTURE: u32 = 0x0080_0000;
    pub(in super::super) const STREAMING: u32 = 0x0400_0000;
    pub(in super::super) const META_OUTPUT: u32 = 0x0800_0000;
    pub(in super::super) const TOUCH: u32 = 0x1000_0000;
    pub(in super::super) const DEVICE_CAPS: u32 = 0x8000_0000;
}

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
pub(super) const TYPE_CAPTURE: u32 = 1;
/// `V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE`.
pub(super) const TYPE_CAPTURE_MPLANE: u32 = 9;

/// `V4L2_MEMORY_MMAP`.
pub(super) const MEMORY_MMAP: u32 = 1;
/// `V4L2_MEMORY_USERPTR`.
pub(super) const MEMORY_USERPTR: u32 = 2;
/// `V4L2_MEMORY_DMABUF`.
pub(super) const MEMORY_DMABUF: u32 = 4;

/// `V4L2_BUF_CAP_SUPPORTS_MMAP`.
pub(super) const SUPPORTS_MMAP: u32 = 1 << 0;
/// `V4L2_BUF_CAP_SUPPORTS_USERPTR`.
pub(super) const SUPPORTS_USERPTR: u32 = 1 << 1;
/// `V4L2_BUF_CAP_SUPPORTS_DMABUF`.
pub(super) const SUPPORTS_DMABUF: u32 = 1 << 2;

/// `V4L2_BUF_FLAG_ERROR`.
pub(super) const FLAG_ERROR: u32 = 0x40;

/// `V4L2_FMT_FLAG_COMPRESSED`.
pub(super) const FMT_COMPRESSED: u32 = 0x1;
/// `V4L2_FMT_FLAG_EMULATED`.
pub(super) const FMT_EMULATED: u32 = 0x2;

/// `V4L2_FRMSIZE_TYPE_DISCRETE`, `V4L2_FRMIVAL_TYPE_DISCRETE`.
pub(super) const KIND_DISCRETE: u32 = 1;

/// `V4L2_CAP_TIMEPERFRAME`, of `struct v4l2_captureparm`.
pub(super) const CAP_TIMEPERFRAME: u32 = 0x1000;

/// `struct v4l2_capability`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capability {
    pub(super) driver: [u8; 16],
    pub(super) card: [u8; 32],
    pub(super) bus_info: [u8; 32],
    pub(super) version: u32,
    pub(super) capabilities: u32,
    pub(super) device_caps: u32,
    pub(super) reserved: [u32; 3],
}

/// `struct v4l2_fmtdesc`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FmtDesc {
    pub(super) index: u32,
    pub(super) buf_type: u32,
    pub(super) flags: u32,
    pub(super) description: [u8; 32],
    pub(super) pixelformat: [u8; 4],
    pub(super) mbus_code: u32,
    pub(super) reserved: [u32; 3],
}

/// `struct v4l2_frmsizeenum`: the union as six numbers, of which a discrete size has two.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrmSize {
    pub(super) index: u32,
    pub(super) pixelformat: [u8; 4],
    pub(super) kind: u32,
    pub(super) numbers: [u32; 6],
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_fract`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fract {
    pub(super) numerator: u32,
    pub(super) denominator: u32,
}

/// `struct v4l2_frmivalenum`: the union as three fractions, of which a discrete interval has one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrmIval {
    pub(super) index: u32,
    pub(super) pixelformat: [u8; 4],
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) kind: u32,
    pub(super) fractions: [Fract; 3],
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_input`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Input {
    pub(super) index: u32,
    pub(super) name: [u8; 32],
    pub(super) kind: u32,
    pub(super) audioset: u32,
    pub(super) tuner: u32,
    pub(super) std: u64,
    pub(super) status: u32,
    pub(super) capabilities: u32,
    pub(super) reserved: [u32; 3],
    pub(super) end: u32,
}

/// `struct v4l2_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pix {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixelformat: [u8; 4],
    pub(super) field: u32,
    pub(super) bytesperline: u32,
    pub(super) sizeimage: u32,
    pub(super) colorspace: u32,
    pub(super) private: u32,
    pub(super) flags: u32,
    pub(super) ycbcr_enc: u32,
    pub(super) quantization: u32,
    pub(super) xfer_func: u32,
}

/// `struct v4l2_plane_pix_format`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PlanePix {
    pub(super) sizeimage: u32,
    pub(super) bytesperline: u32,
    pub(super) reserved: [u16; 6],
}

/// `struct v4l2_pix_format_mplane`; all of its fields are aligned, so it needs no packing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PixMp {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixelformat: [u8; 4],
    pub(super) field: u32,
    pub(super) colorspace: u32,
    pub(super) planes: [PlanePix; PLANES_MAX],
    pub(super) num_planes: u8,
    pub(super) flags: u8,
    pub(super) ycbcr_enc: u8,
    pub(super) quantization: u8,
    pub(super) xfer_func: u8,
    pub(super) reserved: [u8; 7],
}

/// `struct v4l2_format` with `fmt.pix`: a union of 200 bytes that pointers in other members align to 8.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(super) struct FormatPix {
    pub(super) buf_type: u32,
    pub(super) gap: u32,
    pub(super) pix: Pix,
    pub(super) rest: [u64; 19],
}

/// `struct v4l2_format` with `fmt.pix_mp`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub(super) struct FormatMp {
    pub(super) buf_type: u32,
    pub(super) gap: u32,
    pub(super) pix: PixMp,
    pub(super) rest: [u64; 1],
}

/// `struct v4l2_streamparm` with `parm.capture`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamParm {
    pub(super) buf_type: u32,
    pub(super) capability: u32,
    pub(super) capturemode: u32,
    pub(super) timeperframe: Fract,
    pub(super) extendedmode: u32,
    pub(super) readbuffers: u32,
    pub(super) reserved: [u32; 4],
    pub(super) rest: [u32; 40],
}

/// `struct v4l2_requestbuffers`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestBuffers {
    pub(super) count: u32,
    pub(super) buf_type: u32,
    pub(super) memory: u32,
    pub(super) capabilities: u32,
    pub(super) flags: u8,
    pub(super) reserved: [u8; 3],
}

/// `struct v4l2_plane`: `place` is the union `m`, whose numbers of 32 bits lie in its first half.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plane {
    pub(super) bytesused: u32,
    pub(super) length: u32,
    pub(super) place: u64,
    pub(super) data_offset: u32,
    pub(super) reserved: [u32; 11],
}

/// `struct v4l2_timecode`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timecode {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) numbers: [u8; 8],
}

/// `struct v4l2_buffer`: `place` is the union `m`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Buffer {
    pub(super) index: u32,
    pub(super) buf_type: u32,
    pub(super) bytesused: u32,
    pub(super) flags: u32,
    pub(super) field: u32,
    pub(super) gap: u32,
    pub(super) timestamp_s: i64,
    pub(super) timestamp_us: i64,
    pub(super) timecode: Timecode,
    pub(super) sequence: u32,
    pub(super) memory: u32,
    pub(super) place: u64,
    pub(super) length: u32,
    pub(super) reserved2: u32,
    pub(super) request_fd: i32,
    pub(super) end: u32,
}

/// `struct udmabuf_create`, of `include/uapi/linux/udmabuf.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UdmabufCreate {
    pub(super) memfd: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// `struct dma_buf_sync`, of `include/uapi/linux/dma-buf.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DmaBufSync {
    pub(super) flags: u64,
}

const _: () = {
    assert!(size_of::<Capability>() == 104);
    assert!(size_of::<FmtDesc>() == 64);
    assert!(size_of::<FrmSize>() == 44);
    assert!(size_of::<FrmIval>() == 52);
    assert!(size_of::<Input>() == 80);
    assert!(size_of::<Pix>() == 48);
    assert!(size_of::<PixMp>() == 192);
    assert!(size_of::<FormatPix>() == 208);
    assert!(size_of::<FormatMp>() == 208);
    assert!(size_of::<StreamParm>() == 204);
    assert!(size_of::<RequestBuffers>() == 20);
    assert!(size_of::<Plane>() == 64);
    assert!(size_of::<Buffer>() == 88);
    assert!(size_of::<UdmabufCreate>() == 24);
    assert!(size_of::<DmaBufSync>() == 8);
};

pub(super) const QUERYCAP: Opcode = opcode::read::<Capability>(b'V', 0);
pub(super) const ENUM_FMT: Opcode = opcode::read_write::<FmtDesc>(b'V', 2);
pub(super) const G_FMT: Opcode = opcode::read_write::<FormatPix>(b'V', 4);
pub(super) const S_FMT: Opcode = opcode::read_write::<FormatPix>(b'V', 5);
pub(super) const REQBUFS: Opcode = opcode::read_write::<RequestBuffers>(b'V', 8);
pub(super) const QUERYBUF: Opcode = opcode::read_write::<Buffer>(b'V', 9);
pub(super) const QBUF: Opcode = opcode::read_write::<Buffer>(b'V', 15);
pub(super) const DQBUF: Opcode = opcode::read_write::<Buffer>(b'V', 17);
pub(super) const STREAMON: Opcode = opcode::write::<i32>(b'V', 18);
pub(super) const STREAMOFF: Opcode = opcode::write::<i32>(b'V', 19);
pub(super) const G_PARM: Opcode = opcode::read_write::<StreamParm>(b'V', 21);
pub(super) const S_PARM: Opcode = opcode::read_write::<StreamParm>(b'V', 22);
pub(super) const ENUMINPUT: Opcode = opcode::read_write::<Input>(b'V', 26);
pub(super) const G_INPUT: Opcode = opcode::read::<i32>(b'V', 38);
pub(super) const S_INPUT: Opcode = opcode::read_write::<i32>(b'V', 39);
pub(super) const TRY_FMT: Opcode = opcode::read_write::<FormatPix>(b'V', 64);
pub(super) const ENUM_FRAMESIZES: Opcode = opcode::read_write::<FrmSize>(b'V', 74);
pub(super) const ENUM_FRAMEINTERVALS: Opcode = opcode::read_write::<FrmIval>(b'V', 75);

/// `UDMABUF_CREATE`.
pub(super) const UDMABUF_CREATE: Opcode = opcode::write::<UdmabufCreate>(b'u', 0x42);
/// `UDMABUF_FLAGS_CLOEXEC`.
pub(super) const UDMABUF_CLOEXEC: u32 = 1;
/// `DMA_BUF_IOCTL_SYNC`.
pub(super) const DMA_BUF_SYNC: Opcode = opcode::write::<DmaBufSync>(b'b', 0);
/// `DMA_BUF_SYNC_READ`.
pub(super) const SYNC_READ: u64 = 1;
/// `DMA_BUF_SYNC_END`; `DMA_BUF_SYNC_START` is zero.
pub(super) const SYNC_END: u64 = 4;
