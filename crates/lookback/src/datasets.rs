//! Public data sets that examples and tests know: where they come from, and whether they are here.

use std::path::{Path, PathBuf};

use crate::files;

/// A file of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataFile {
    /// Path below the data folder.
    pub path: &'static str,
    /// SHA-256 of its bytes.
    pub sha256: &'static str,
}

/// A data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataSet {
    /// Short name.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Public source.
    pub source: &'static str,
    /// Licence or terms.
    pub licence: &'static str,
    /// Papers to cite.
    pub reference: &'static str,
    /// Its files.
    pub files: &'static [DataFile],
}

/// Name of the environment variable that holds the data folder.
pub const VARIABLE: &str = "LOOKBACK_DATA";

/// All data sets.
pub const ALL: &[DataSet] = &[
    DataSet {
        name: "cosmos",
        what: "HST/ACS COSMOS shear catalogue (417,117 galaxies), its maps, and X-ray groups",
        source: "github.com/CosmoStat/jax-lensing (data/COSMOS)",
        licence: "MIT",
        reference: "Schrabback et al. 2010, A&A 516, A63; Finoguenov et al. 2007, ApJS 172, 182",
        files: COSMOS,
    },
    DataSet {
        name: "ktng",
        what: "true convergence of a mock COSMOS from kTNG, mock ellipticities, theory C_ell",
        source: "github.com/CosmoStat/jax-lensing (data/ktng)",
        licence: "MIT",
        reference: "Osato, Liu & Haiman 2021, MNRAS 502, 5593; Remy et al. 2023, A&A 672, A51",
        files: KTNG,
    },
    DataSet {
        name: "mnist",
        what: "70,000 handwritten digits of 28 x 28 pixels",
        source: "yann.lecun.com/exdb/mnist",
        licence: "CC BY-SA 3.0",
        reference: "LeCun, Bottou, Bengio & Haffner 1998, Proc. IEEE 86, 2278",
        files: MNIST,
    },
    DataSet {
        name: "fashion-mnist",
        what: "70,000 pictures of clothes of 28 x 28 pixels",
        source: "github.com/zalandoresearch/fashion-mnist",
        licence: "MIT",
        reference: "Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747",
        files: FASHION,
    },
    DataSet {
        name: "radio_galaxies",
        what: "2158 radio galaxies of the FIRST survey in four classes (`images` of 64 x 64 pixels as an npz archive)",
        source: "github.com/floriangriese/RadioGalaxyDataset",
        licence: "MIT; images: scholarly, non-commercial use",
        reference: "Griese, Kummer & Rustige 2023, Data in Brief 47, 108974; Becker, White & Helfand 1995, ApJ 450, 559",
        files: RADIO_GALAXIES,
    },
];

const MNIST: &[DataFile] = &[
    DataFile {
        path: "mnist/train-images-idx3-ubyte.gz",
        sha256: "71524e2cd1ad2968737f7f2f2ff69cbfc32df8ccddff51593f7cb2d4e0eb5b64",
    },
    DataFile {
        path: "mnist/train-labels-idx1-ubyte.gz",
        sha256: "fe03b8bd7915f70bf5aa08be480aa413fbd85afcaa58b35d230d335f284fd88e",
    },
    DataFile {
        path: "mnist/t10k-images-idx3-ubyte.gz",
        sha256: "5634745efa576a17e7d4cf5cd9d09123c75e6538e5114267c2d156edaf519341",
    },
    DataFile {
        path: "mnist/t10k-labels-idx1-ubyte.gz",
        sha256: "ae18e77e031ccde52407f794d123116439864147d33ac992975f85dd4dc42af6",
    },
];

const FASHION: &[DataFile] = &[
    DataFile {
        path: "fashion-mnist/train-images-idx3-ubyte.gz",
        sha256: "a26751d72d89606ffbfdd4dd5d16911f01e93a7ff4783c95da7307a073d79fa7",
    },
    DataFile {
        path: "fashion-mnist/t10k-images-idx3-ubyte.gz",
        sha256: "78cb45a589ec14266eab4ac0cb2e9e10a4c076ae2d337fe86383d761bff83f32",
    },
];

const RADIO_GALAXIES: &[DataFile] = &[DataFile {
    path: "radio_galaxies/first_radio_galaxies_64.npz",
    sha256: "ca513b173d0c7db21dabe1322e9d5aa3000e916a27add85a6dd66a58e6c540b3",
}];

const COSMOS: &[DataFile] = &[
    DataFile {
        path: "shear/cosmos/cosmos_full_e1_0.29arcmin360.fits",
        sha256: "f580435b2e5c63337e0f8f09d199ef03a37790c3c05d5eb96b767fc2645fe424",
    },
    DataFile {
        path: "shear/cosmos/cosmos_full_e2_0.29arcmin360.fits",
        sha256: "02456254d95d5363f1ca3445144cdbbcaa01180f2b7a1cc0d8171341cd55429b",
    },
    DataFile {
        path: "shear/cosmos/cosmos_full_mask_0.29arcmin360.fits",
        sha256: "d39429caf2a033c2083c176c8c197dcc03fb33464f657af4ed78cacace6d164f",
    },
    DataFile {
        path: "shear/cosmos/dec.fits",
        sha256: "6f8ad325d6603468a1e747afbbb694af448491c7569e35f5966f64378d009622",
    },
    DataFile {
        path: "shear/cosmos/e1.fits",
        sha256: "a335533144ed5d94143d1d2f9b1144ff4af3e6f7d5e85b0d2eee4e8dd56997db",
    },
    DataFile {
        path: "shear/cosmos/e2.fits",
        sha256: "4c68ac134b5c3061b701517b7332df8ed04f045711cf68891015b2964e450fb0",
    },
    DataFile {
        path: "shear/cosmos/ks_e_0.29arcmin360.fits",
        sha256: "0a23b9c7508591895460a0cdc63297a9d1b0c861fc5de860857964cb8cf727ed",
    },
    DataFile {
        path: "shear/cosmos/nhweight_int.fits",
        sha256: "7d75c1ef1f7e979532a4fe1af2e7c1e9e225b3e63db074ba55735f9c2e827bce",
    },
    DataFile {
        path: "shear/cosmos/ra.fits",
        sha256: "b47e7e65b36da81fbcbac53d96976a133980a608590ba242a01fbfa8b4e67092",
    },
    DataFile {
        path: "shear/cosmos/std1.fits",
        sha256: "feaa05d8987ea31177dffffc0f674cf0da1f679cc22c68c3761a431a2a471429",
    },
    DataFile {
        path: "shear/cosmos/std2.fits",
        sha256: "f136edd3293b4f4623a0da34c9bda71374bab4a1f3450dc833ab252f5d296ae3",
    },
    DataFile {
        path: "shear/cosmos/xray.txt",
        sha256: "c9d211f4e965ddff6adb959e65e7d7d852fd113d10b77676b2dea7e4a2d24da5",
    },
];

const KTNG: &[DataFile] = &[
    DataFile {
        path: "shear/ktng/ktng_PS_theory.npy",
        sha256: "87c4b5a821d5105cd0c2bda4e5658b5ae3b88f22730e057c64de7e503399f0f6",
    },
    DataFile {
        path: "shear/ktng/ktng_cosmos_e360.fits",
        sha256: "63ecffbf0c8319bb5118182c9a548d07ad596fd7a3c4afd2118fca41098d4ec3",
    },
    DataFile {
        path: "shear/ktng/ktng_cosmos_kappa360.fits",
        sha256: "e4b94cf70527eebda60054168f0e0081cad7fb8e19a327eb95eb96d69746f0d2",
    },
    DataFile {
        path: "shear/ktng/ktng_kappa360v2.fits",
        sha256: "4a71d2f19569c4b98159c247f0e50fad9a9aa7920dafc0554e28a9a37355ed24",
    },
];

/// What is known of a file on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There, with the right bytes.
    Good,
    /// There, with other bytes.
    Different,
    /// Not there.
    Missing,
}

/// The data folder, if it is named and exists.
pub fn folder() -> Option<PathBuf> {
    let place = PathBuf::from(std::env::var_os(VARIABLE)?);
    place.is_dir().then_some(place)
}

impl DataFile {
    /// Looks for the file below a folder.
    pub fn state(&self, folder: &Path) -> State {
        match files::read(&folder.join(self.path)) {
            Err(_) => State::Missing,
            Ok(bytes) if files::sha256(&bytes) == self.sha256 => State::Good,
            Ok(_) => State::Different,
        }
    }
}

impl DataSet {
    /// True if all files are there with the right bytes.
    pub fn is_complete(&self, folder: &Path) -> bool {
        self.files.iter().all(|file| file.state(folder) == State::Good)
    }

    /// The data set of this name.
    pub fn named(name: &str) -> Option<&'static DataSet> {
        ALL.iter().find(|set| set.name == name)
    }
}
