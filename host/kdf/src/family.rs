//! The hashes that can be computed side by side: their words, initial values and message schedules (FIPS
//! 180-4).

use bulkhead_crypto::Hash;
use std::fmt::Debug;
use zeroize::{DefaultIsZeroes, Zeroize as _};

/// A word of a hash: 32 or 64 bits.
pub(crate) trait Word: DefaultIsZeroes + Debug + PartialEq + Send + 'static {
    const BYTES: usize;
    fn from_bytes(bytes: &[u8]) -> Self;
    fn append_to(self, bytes: &mut Vec<u8>);
}

/// A compression function and its parameters.
pub(crate) trait Family: Copy + Send + 'static {
    type Word: Word;
    /// Number of rounds per block, which is also the number of words of its schedule.
    const ROUNDS: usize;
    /// Size of a block in bytes: sixteen words.
    const BLOCK: usize = 16 * Self::Word::BYTES;
    /// Size in bytes of the length at the end of the padding.
    const LENGTH: usize = 2 * Self::Word::BYTES;

    /// Appends the schedule of a block to `schedule`, in the form that [`Self::lane_word`] and the
    /// kernels read.
    fn expand(block: &[Self::Word; 16], schedule: &mut Vec<Self::Word>);

    /// Returns the word that a round in lanes adds: that of the schedule plus the round constant.
    fn lane_word(schedule: &[Self::Word], round: usize) -> Self::Word;

    /// Compresses whole blocks, one after the other, with `RustCrypto`. Uses as many words of the state as
    /// the hash has.
    fn compress(state: &mut [Self::Word; 8], blocks: &[u8]);
}

/// The name of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Sha1,
    Sha256,
    Sha512,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];
}

#[derive(Clone, Copy)]
pub(crate) struct Sha1;
#[derive(Clone, Copy)]
pub(crate) struct Sha256;
#[derive(Clone, Copy)]
pub(crate) struct Sha512;

/// The state before the first block, by family.
pub(crate) enum Initial {
    Sha1([u32; 8]),
    Sha256([u32; 8]),
    Sha512([u64; 8]),
}

/// Returns the initial state of a hash, or `None` if the hash belongs to no family.
pub(crate) fn initial(hash: Hash) -> Option<Initial> {
    Some(match hash {
        Hash::Sha1 => Initial::Sha1(H1),
        Hash::Sha224 => Initial::Sha256(H384.map(low)),
        Hash::Sha256 => Initial::Sha256(H512.map(high)),
        Hash::Sha384 => Initial::Sha512(H384),
        Hash::Sha512 => Initial::Sha512(H512),
        Hash::Md5 | Hash::Ripemd160 | Hash::Sha3_256 | Hash::Sha3_512 => return None,
    })
}

impl Family for Sha1 {
    type Word = u32;
    const ROUNDS: usize = 80;

    /// The schedule has no round constants, because SHA-NI adds them itself. Each group of four words is in
    /// the order that SHA-NI needs: the first word is the most significant one.
    fn expand(block: &[u32; 16], schedule: &mut Vec<u32>) {
        let mut words = [0; 80];
        words[..16].copy_from_slice(block);
        for t in 16..80 {
            let word = words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16];
            words[t] = word.rotate_left(1);
        }
        schedule.extend((0..80).map(|t| words[t ^ 3]));
        words.zeroize();
    }

    fn lane_word(schedule: &[u32], round: usize) -> u32 {
        schedule[round ^ 3].wrapping_add(K1[round / 20])
    }

    fn compress(state: &mut [u32; 8], blocks: &[u8]) {
        let (blocks, _) = blocks.as_chunks();
        let [a, b, c, d, e, ..] = state;
        let mut five = [*a, *b, *c, *d, *e];
        sha1::block_api::compress(&mut five, blocks);
        [*a, *b, *c, *d, *e] = five;
        five.zeroize();
    }
}

impl Family for Sha256 {
    type Word = u32;
    const ROUNDS: usize = 64;

    /// The schedule includes the round constants.
    fn expand(block: &[u32; 16], schedule: &mut Vec<u32>) {
        let mut words = [0_u32; 64];
        words[..16].copy_from_slice(block);
        for t in 16..64 {
            let (x, y) = (words[t - 15], words[t - 2]);
            let sigma0 = x.rotate_right(7) ^ x.rotate_right(18) ^ (x >> 3);
            let sigma1 = y.rotate_right(17) ^ y.rotate_right(19) ^ (y >> 10);
            words[t] = words[t - 16]
                .wrapping_add(sigma0)
                .wrapping_add(words[t - 7])
                .wrapping_add(sigma1);
        }
        let constants = K512.iter().map(|&k| high(k));
        schedule.extend(words.iter().zip(constants).map(|(w, k)| w.wrapping_add(k)));
        words.zeroize();
    }

    fn lane_word(schedule: &[u32], round: usize) -> u32 {
        schedule[round]
    }

    fn compress(state: &mut [u32; 8], blocks: &[u8]) {
        sha2::block_api::compress256(state, blocks.as_chunks().0);
    }
}

impl Family for Sha512 {
    type Word = u64;
    const ROUNDS: usize = 80;

    /// The schedule includes the round constants.
    fn expand(block: &[u64; 16], schedule: &mut Vec<u64>) {
        let mut words = [0_u64; 80];
        words[..16].copy_from_slice(block);
        for t in 16..80 {
            let (x, y) = (words[t - 15], words[t - 2]);
            let sigma0 = x.rotate_right(1) ^ x.rotate_right(8) ^ (x >> 7);
            let sigma1 = y.rotate_right(19) ^ y.rotate_right(61) ^ (y >> 6);
            words[t] = words[t - 16]
                .wrapping_add(sigma0)
                .wrapping_add(words[t - 7])
                .wrapping_add(sigma1);
        }
        schedule.extend(words.iter().zip(K512).map(|(w, k)| w.wrapping_add(k)));
        words.zeroize();
    }

    fn lane_word(schedule: &[u64], round: usize) -> u64 {
        schedule[round]
    }

    fn compress(state: &mut [u64; 8], blocks: &[u8]) {
        sha2::block_api::compress512(state, blocks.as_chunks().0);
    }
}

impl Word for u32 {
    const BYTES: usize = 4;
    fn from_bytes(bytes: &[u8]) -> Self {
        Self::from_be_bytes(bytes.try_into().expect("word should have 4 bytes"))
    }
    fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_be_bytes());
    }
}

impl Word for u64 {
    const BYTES: usize = 8;
    fn from_bytes(bytes: &[u8]) -> Self {
        Self::from_be_bytes(bytes.try_into().expect("word should have 8 bytes"))
    }
    fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_be_bytes());
    }
}

#[expect(clippy::cast_possible_truncation, reason = "one half of the word")]
const fn low(word: u64) -> u32 {
    word as u32
}

const fn high(word: u64) -> u32 {
    low(word >> 32)
}

const H1: [u32; 8] = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
    0,
    0,
    0,
];
const K1: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];

/// The round constants of SHA-512. Those of SHA-256 are the upper halves of the first 64.
const K512: [u64; 80] = [
    0x428a_2f98_d728_ae22,
    0x7137_4491_23ef_65cd,
    0xb5c0_fbcf_ec4d_3b2f,
    0xe9b5_dba5_8189_dbbc,
    0x3956_c25b_f348_b538,
    0x59f1_11f1_b605_d019,
    0x923f_82a4_af19_4f9b,
    0xab1c_5ed5_da6d_8118,
    0xd807_aa98_a303_0242,
    0x1283_5b01_4570_6fbe,
    0x2431_85be_4ee4_b28c,
    0x550c_7dc3_d5ff_b4e2,
    0x72be_5d74_f27b_896f,
    0x80de_b1fe_3b16_96b1,
    0x9bdc_06a7_25c7_1235,
    0xc19b_f174_cf69_2694,
    0xe49b_69c1_9ef1_4ad2,
    0xefbe_4786_384f_25e3,
    0x0fc1_9dc6_8b8c_d5b5,
    0x240c_a1cc_77ac_9c65,
    0x2de9_2c6f_592b_0275,
    0x4a74_84aa_6ea6_e483,
    0x5cb0_a9dc_bd41_fbd4,
    0x76f9_88da_8311_53b5,
    0x983e_5152_ee66_dfab,
    0xa831_c66d_2db4_3210,
    0xb003_27c8_98fb_213f,
    0xbf59_7fc7_beef_0ee4,
    0xc6e0_0bf3_3da8_8fc2,
    0xd5a7_9147_930a_a725,
    0x06ca_6351_e003_826f,
    0x1429_2967_0a0e_6e70,
    0x27b7_0a85_46d2_2ffc,
    0x2e1b_2138_5c26_c926,
    0x4d2c_6dfc_5ac4_2aed,
    0x5338_0d13_9d95_b3df,
    0x650a_7354_8baf_63de,
    0x766a_0abb_3c77_b2a8,
    0x81c2_c92e_47ed_aee6,
    0x9272_2c85_1482_353b,
    0xa2bf_e8a1_4cf1_0364,
    0xa81a_664b_bc42_3001,
    0xc24b_8b70_d0f8_9791,
    0xc76c_51a3_0654_be30,
    0xd192_e819_d6ef_5218,
    0xd699_0624_5565_a910,
    0xf40e_3585_5771_202a,
    0x106a_a070_32bb_d1b8,
    0x19a4_c116_b8d2_d0c8,
    0x1e37_6c08_5141_ab53,
    0x2748_774c_df8e_eb99,
    0x34b0_bcb5_e19b_48a8,
    0x391c_0cb3_c5c9_5a63,
    0x4ed8_aa4a_e341_8acb,
    0x5b9c_ca4f_7763_e373,
    0x682e_6ff3_d6b2_b8a3,
    0x748f_82ee_5def_b2fc,
    0x78a5_636f_4317_2f60,
    0x84c8_7814_a1f0_ab72,
    0x8cc7_0208_1a64_39ec,
    0x90be_fffa_2363_1e28,
    0xa450_6ceb_de82_bde9,
    0xbef9_a3f7_b2c6_7915,
    0xc671_78f2_e372_532b,
    0xca27_3ece_ea26_619c,
    0xd186_b8c7_21c0_c207,
    0xeada_7dd6_cde0_eb1e,
    0xf57d_4f7f_ee6e_d178,
    0x06f0_67aa_7217_6fba,
    0x0a63_7dc5_a2c8_98a6,
    0x113f_9804_bef9_0dae,
    0x1b71_0b35_131c_471b,
    0x28db_77f5_2304_7d84,
    0x32ca_ab7b_40c7_2493,
    0x3c9e_be0a_15c9_bebc,
    0x431d_67c4_9c10_0d4c,
    0x4cc5_d4be_cb3e_42b6,
    0x597f_299c_fc65_7e2a,
    0x5fcb_6fab_3ad6_faec,
    0x6c44_198c_4a47_5817,
];
/// The initial state of SHA-512. That of SHA-256 consists of the upper halves.
const H512: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];
/// The initial state of SHA-384. That of SHA-224 consists of the lower halves.
const H384: [u64; 8] = [
    0xcbbb_9d5d_c105_9ed8,
    0x629a_292a_367c_d507,
    0x9159_015a_3070_dd17,
    0x152f_ecd8_f70e_5939,
    0x6733_2667_ffc0_0b31,
    0x8eb4_4a87_6858_1511,
    0xdb0c_2e0d_64f9_8fa7,
    0x47b5_481d_befa_4fa4,
];
